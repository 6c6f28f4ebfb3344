"""The numbers that Jiang et al. print, as they print them."""

from __future__ import annotations

#: Metrics of tables 1 to 3, in the order of their columns.
METRICS = ("l2", "psnr", "ssim", "perceptual", "lpips")

#: Those of which more is better; of the others, less.
MORE_IS_BETTER = ("psnr", "ssim")

#: The bound of its perturbations, on [-1,1].
EPSILON = 0.05

#: Tables 1 to 3: comparison -> set -> method -> figures by `METRICS`.
COMPARISONS = {
    "input": {
        "celeba": {
            "PGD": (0.0008, 36.9832, 0.9360, 239.0099, 0.0115),
            "generator": (0.0002, 42.6844, 0.9887, 11.6263, 0.0012),
        },
        "lfw": {
            "PGD": (0.0008, 36.9324, 0.9381, 240.8695, 0.0130),
            "generator": (0.0002, 43.0926, 0.9909, 11.7893, 0.0015),
        },
        "ffhq": {
            "PGD": (0.0008, 36.9449, 0.9473, 225.5404, 0.0070),
            "generator": (0.0004, 40.6340, 0.9876, 18.1097, 0.0012),
        },
    },
    "output": {
        "celeba": {
            "no defense": (0.0435, 21.5832, 0.8195, 2994.8579, 0.0869),
            "PGD": (0.0039, 30.2694, 0.8654, 2014.5713, 0.0581),
            "generator": (0.0018, 34.0527, 0.9594, 941.7181, 0.0306),
        },
        "lfw": {
            "no defense": (0.0414, 21.2920, 0.8106, 3298.6406, 0.0998),
            "PGD": (0.0040, 30.1451, 0.8673, 2068.6641, 0.0578),
            "generator": (0.0018, 33.8998, 0.9622, 908.7238, 0.0274),
        },
        "ffhq": {
            "no defense": (0.0477, 20.6184, 0.7889, 4039.8401, 0.0988),
            "PGD": (0.0059, 28.5643, 0.8556, 2565.0344, 0.0747),
            "generator": (0.0038, 30.8490, 0.9386, 1670.6807, 0.0542),
        },
    },
    "total": {
        "celeba": {
            "PGD": (0.0032, 31.1604, 0.9052, 1977.8158, 0.0481),
            "generator": (0.0024, 32.8416, 0.9446, 1016.6274, 0.0355),
        },
        "lfw": {
            "PGD": (0.0033, 31.0122, 0.9064, 1999.1094, 0.0486),
            "generator": (0.0023, 32.7748, 0.9514, 970.7018, 0.0328),
        },
        "ffhq": {
            "PGD": (0.0052, 29.1619, 0.8903, 2593.4036, 0.0665),
            "generator": (0.0050, 29.5974, 0.9178, 1821.7161, 0.0615),
        },
    },
}

#: The last column of table 2, in percent: method -> its ASR (section 4.2: DSR), on every set.
DSR = {"PGD": 100, "generator": 100}

#: Table 4, on CelebA: the loss term left out -> L2 of tables 1, 2 and 3.
ABLATION = {
    "L_pix": (0.0003, 0.0020, 0.0028),
    "L_feat": (0.0006, 0.0015, 0.0028),
    "L_adv": (1e-7, 0.0436, 0.0436),
    None: (0.0002, 0.0018, 0.0024),
}

#: How many times as long as the generator PGD takes for a face: more than this.
PGD_SLOWDOWN = 10
