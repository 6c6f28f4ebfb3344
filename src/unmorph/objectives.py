"""The paper's training objective, equations 4 to 8, each term a function.

The paper writes the terms as 2-norms; its tables show that its "L2" is the mean squared error on
[-1,1], so every norm here is that. The distances are one figure a face, (N,); equations 6 and 8
combine figures of any one shape.
"""

from __future__ import annotations

from torch import Tensor

from unmorph.metrics.pixels import ssim
from unmorph.perceptual import VGGFeatures
from unmorph.refining import LEAST_MOVEMENT


def pixel_loss(faces: Tensor, protected: Tensor) -> Tensor:
    """L_pix, equation 4: the mean squared error of the protected face; (N, 3, H, W) to (N,)."""
    return (protected - faces).square().mean(dim=(1, 2, 3))


def feature_loss(features: VGGFeatures, faces: Tensor, protected: Tensor) -> Tensor:
    """L_feat, equation 5: the distance of VGG16 features, the perceptual metric's formula."""
    return features.distance(faces, protected)


def relative_weight(faces: Tensor, edited: Tensor) -> Tensor:
    """What makes the loss of an edit relative to how far it moves the unprotected face.

    Args:
        faces: x, (N, 3, H, W).
        edited: G(x), the same shape.

    Returns:
        A factor for each face, (N,), at most 1 / `unmorph.refining.LEAST_MOVEMENT`.
    """
    return 1 / (pixel_loss(faces, edited) + LEAST_MOVEMENT)


def structure_loss(faces: Tensor, protected: Tensor) -> Tensor:
    """1 - SSIM of the protected face; (N, 3, H, W) to (N,). Not in the paper."""
    return 1 - ssim(faces, protected)


def magnitude_loss(
    pixel: Tensor,
    feature: Tensor,
    lambda_feat: float,
    structure: Tensor | float = 0.0,
    lambda_ssim: float = 0.0,
) -> Tensor:
    """L_mag, equation 6: how visible the protection is; `structure_loss` is an addition of ours."""
    return pixel + lambda_feat * feature + lambda_ssim * structure


def adversarial_loss(protected: Tensor, edited: Tensor) -> Tensor:
    """L_adv, equation 7: how far the deepfake still moves the protected face.

    Args:
        protected: x_adv, (N, 3, H, W).
        edited: G(x_adv), the same shape.
    """
    return (edited - protected).square().mean(dim=(1, 2, 3))


def total_loss(
    magnitude: Tensor, adversarial: Tensor, lambda_mag: Tensor | float, lambda_adv: float
) -> Tensor:
    """L, equation 8: what training minimises over P."""
    return lambda_mag * magnitude + lambda_adv * adversarial
