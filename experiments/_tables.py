"""The paper's ablations, Tables 1, 2 and 4: the schemes that each compares, as changes of a preset; its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sgdbd_jax.config import MADE
from sgdbd_jax.training.trials import Trial

ALONE = {"bilateral_weight": 0.0, "eta": 1.0}  # L_G as Eq. 4 has it: eta weighs it beside L_B
SCHEMES: dict[str, Trial] = {
    "clear": Trial("D_c alone, no L_B", {**ALONE, "discriminators": "clear"}),
    "blur": Trial("D_b alone, no L_B", {**ALONE, "discriminators": "blur"}),
    "both": Trial("D_c and D_b, no L_B", ALONE),
    "both_weak": Trial("D_c and D_b, no L_B, eta as with it", {"bilateral_weight": 0.0}),
    "full": Trial("D_c, D_b and L_B"),
    **{f"eta_{eta}": Trial(f"eta {eta}", {"eta": eta}) for eta in (0.005, 0.01, 0.05, 0.5)},
    **{
        f"fcsb_{times}": Trial(f"FCSB({times}D)", {"blur_kernel": f"fcsb:{times}", "blur": MADE})
        for times in range(1, 6)
    },
    "disk": Trial("disks and Gaussians that vary inside a photo", {"blur": MADE}),
}


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Attributes:
        title: what it asks.
        rows: what each is called, by its name in `SCHEMES`; `{eta}` stands for the preset's.
        paper: F and MAE that the paper prints for them, where it does, on CUHK and on DUT.
        composites: whether its picture has the composites too, as Figure 4.
    """

    title: str
    rows: Mapping[str, str]
    paper: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)
    composites: bool = False


TABLES: dict[int, PaperTable] = {
    1: PaperTable(
        "one discriminator or two, without the bilateral loss, eta 1",
        {"clear": "D_c alone", "blur": "D_b alone", "both": "D_c and D_b"},
        {
            "clear": (0.360, 0.264, 0.372, 0.282),
            "blur": (0.353, 0.699, 0.367, 0.686),
            "both": (0.719, 0.148, 0.683, 0.190),
        },
        composites=True,
    ),
    2: PaperTable(
        "the bilateral loss L_B, and the weight eta of the adversarial loss beside it",
        {
            "both": "no L_B, eta 1",
            "both_weak": "no L_B, eta {eta}",
            "full": "L_B, eta {eta}",
            **{f"eta_{eta}": f"L_B, eta {eta}" for eta in (0.005, 0.01, 0.05, 0.5)},
        },
        {
            "both": (0.719, 0.148, 0.683, 0.190),
            "eta_0.005": (0.778, 0.118, 0.686, 0.183),
            "eta_0.01": (0.769, 0.119, 0.701, 0.172),
            "eta_0.05": (0.738, 0.133, 0.673, 0.182),
            "eta_0.5": (0.734, 0.148, 0.670, 0.197),
        },
    ),
    4: PaperTable(
        "the blurred set, with L_B and eta {eta}: clear photos blurred 1 to n times by a Gaussian, by disks, or a set",
        {
            **{f"fcsb_{times}": f"FCSB({times}D)" for times in range(1, 6)},
            "disk": "disks and Gaussians that vary inside a photo",
            "full": "a set of photos out of focus (the paper's FCFB)",
        },
        {
            "fcsb_1": (0.715, 0.150, 0.610, 0.215),
            "fcsb_2": (0.746, 0.141, 0.621, 0.213),
            "fcsb_3": (0.760, 0.132, 0.639, 0.208),
            "fcsb_4": (0.757, 0.130, 0.624, 0.208),
            "fcsb_5": (0.768, 0.123, 0.655, 0.192),
            "full": (0.769, 0.119, 0.701, 0.172),
        },
    ),
}
