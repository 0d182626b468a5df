"""Features of one recogniser as a lesson for another."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.losses.distillation import PROJECTION, detach_projection
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.recognisers.whole_photo import Recogniser
from leafscout.training.feature_teaching import (
    FeatureTutor,
    hire_feature_tutor,
    load_feature_teacher,
)
from leafscout.training.loop import LoopOptions, train_stage
from leafscout.training.progress import TrainingProgress
from leafscout.training.recogniser_recipe import choose_recogniser_recipe
from leafscout.training.recogniser_stage import RecogniserStage
from leafscout.training.teacher import RecogniserLogits, Teacher

CPU = torch.device("cpu")
SMALL = {"photo_px": 64, "epochs": 1, "batch": 4, "features": 8}


def build(recipe: str, seed: int = 3, **settings: object) -> Recogniser:
    torch.manual_seed(seed)
    return Recogniser(choose_recogniser_recipe(recipe, {**SMALL, **settings}).shape(), 2).eval()


def make_stage(
    spots: LabelTable, tutor: FeatureTutor | None, **settings: object
) -> RecogniserStage:
    recipe = choose_recogniser_recipe("small_vit", {**SMALL, **settings})
    torch.manual_seed(4)
    network = Recogniser(recipe.shape(), len(spots.labels))
    return RecogniserStage(
        network, recipe, spots, spots, 3, CPU, mixed_precision=False, tutor=tutor
    )


def teach(tutor: FeatureTutor, student: Recogniser, pixels: Tensor) -> float:
    framed = student.frame(pixels)[0]
    shown, hidden = tutor.hide(framed, student.encoder.stride)
    with torch.no_grad():
        return float(tutor.loss(student, student.read(shown).feature_map, framed, hidden))


@pytest.fixture
def pixels() -> Tensor:
    return 255 * torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_student_that_sees_the_same_has_nothing_left_to_learn(pixels: Tensor) -> None:
    teacher = build("small_vit")
    tutor = FeatureTutor(teacher, 2.0, 0.0)
    student = build("small_vit")
    tutor.attach(student, 0)
    projection = student.get_submodule(PROJECTION)
    nn.init.eye_(projection.get_submodule("linear").weight)
    assert teach(tutor, student, pixels) == pytest.approx(0.0, abs=1e-5)
    nn.init.eye_(projection.get_submodule("linear").weight)
    with torch.no_grad():
        projection.get_submodule("linear").weight.neg_()
    # Features that point away are 1 − cosine = 2 from the teacher's, times the weight.
    assert teach(tutor, student, pixels) == pytest.approx(4.0, abs=1e-4)


def test_the_mean_colour_lies_over_hidden_places_and_nowhere_else(pixels: Tensor) -> None:
    tutor = FeatureTutor(build("small_vit"), 1.0, 0.4)
    torch.manual_seed(0)
    shown, hidden = tutor.hide(pixels, 16)
    assert hidden is not None
    assert hidden.shape == (3, 4, 4)
    mean = pixels.mean(dim=(2, 3))
    for photo, row, column in np.ndindex(3, 4, 4):
        place = (
            photo,
            slice(None),
            slice(16 * row, 16 * row + 16),
            slice(16 * column, 16 * column + 16),
        )
        wanted = mean[photo][:, None, None] if hidden[photo, row, column] else pixels[place]
        assert torch.allclose(shown[place], wanted.expand(3, 16, 16))
    shares = torch.stack([tutor.hide(pixels, 16)[1].float().mean() for _ in range(200)])  # type: ignore[union-attr]
    assert float(shares.mean()) == pytest.approx(0.4, abs=0.02)


def test_hidden_places_alone_are_asked_for(pixels: Tensor) -> None:
    tutor = FeatureTutor(build("small_vit"), 1.0, 0.5)
    student = build("small_vit", seed=9)
    tutor.attach(student, 0)
    features = student(pixels).feature_map.detach().requires_grad_()
    hidden = torch.zeros(3, *features.shape[-2:], dtype=torch.bool)
    hidden[:, 0, 1] = True
    tutor.loss(student, features, pixels, hidden).backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    asked = features.grad.abs().sum(dim=(0, 1)) > 0
    assert asked[0, 1]
    assert int(asked.sum()) == 1


@pytest.mark.parametrize("recipe", ["small_efficientnet", "small_arc_psa_swin", "small_eva_stn"])
def test_any_recogniser_teaches_any_other_at_its_own_size(recipe: str, pixels: Tensor) -> None:
    tutor = FeatureTutor(build(recipe, photo_px=96), 1.0, 0.0)
    student = build("small_vit")
    tutor.attach(student, 0)
    assert 0.0 < teach(tutor, student, pixels) < 2.0


def test_features_come_nearer_while_labels_are_learnt(spots: LabelTable, tmp_path: Path) -> None:
    tutor = FeatureTutor(build("small_efficientnet"), 5.0, 0.0)
    stage = make_stage(spots, tutor, epochs=4, rate=3e-3)
    photos = torch.from_numpy(np.stack([decode_photo(path).pixels for path in stage.paths[:8]]))
    photos = photos.permute(0, 3, 1, 2)
    before = teach(tutor, stage.network.eval(), photos)
    options = LoopOptions(tmp_path, 3, None, CPU, mixed_precision=False, on_epoch=lambda _: None)
    with TrainingProgress() as progress:
        train_stage(stage, options, progress)
    assert teach(tutor, stage.network.eval(), photos) < 0.8 * before
    teacher = build("small_efficientnet")
    for name, value in tutor.network.state_dict().items():
        assert torch.equal(value, teacher.state_dict()[name]), name


def test_what_only_learning_needs_is_taken_away(spots: LabelTable) -> None:
    alone = make_stage(spots, None)
    taught = make_stage(spots, FeatureTutor(build("small_efficientnet"), 1.0, 0.0))
    assert set(taught.network.state_dict()) > set(alone.network.state_dict())
    detach_projection(taught.network)
    detach_projection(alone.network)
    assert set(taught.network.state_dict()) == set(alone.network.state_dict())
    for name, value in alone.network.state_dict().items():
        assert torch.equal(value, taught.network.state_dict()[name]), name


def test_a_teacher_without_features_and_a_weight_of_nothing_are_refused() -> None:
    network = RecogniserLogits(build("small_vit"))
    teacher = Teacher(
        Path("a_run"), "photo", ("rust",), exclusive=False, pooling="max", tile_px=None,
        side_px=64, expert=None, photo_network=network, weights_sha256="0", square=True,
    )  # fmt: skip
    assert hire_feature_tutor(None, 1.0, 0.0) is None
    assert hire_feature_tutor(teacher, 1.0, 0.0) is not None
    with pytest.raises(InputError, match="feature_weight is 0"):
        hire_feature_tutor(teacher, 0.0, 0.0)
    with pytest.raises(TypeError, match="load_feature_teacher"):
        hire_feature_tutor(replace(teacher, photo_network=nn.Identity()), 1.0, 0.0)


def test_the_run_of_another_family_teaches_no_features(tmp_path: Path) -> None:
    assert load_feature_teacher(None, CPU) is None
    (tmp_path / "plan.json").write_text('{"version": 1, "recipe": {"family": "gated"}}')
    with pytest.raises(InputError, match="holds no recogniser of whole photos"):
        load_feature_teacher(tmp_path, CPU)
