from __future__ import annotations

import torch

from unmorph.classifier import AttributeClassifier


def test_logits_of_each_face_alone() -> None:
    torch.manual_seed(0)
    classifier = AttributeClassifier(2).eval()
    faces = torch.rand(3, 3, 128, 128) * 2 - 1
    with torch.no_grad():
        logits = classifier(faces)
        alone = torch.cat([classifier(face) for face in faces.split(1)])
    assert logits.shape == (3, 5)
    torch.testing.assert_close(alone, logits, rtol=1e-4, atol=1e-5)
    assert logits.std(0).min() > 0


def test_width_doubles_in_each_block() -> None:
    classifier = AttributeClassifier(3)
    seen = []
    for block in classifier.blocks:
        block.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape[1:])))
    classifier.eval()(torch.zeros(1, 3, 128, 128))
    assert seen == [(6, 32, 32), (12, 16, 16), (24, 8, 8), (48, 4, 4)]
