"""The trials that `results` trains and compares: each a preset with some fields changed."""

from sgdbd_jax.presets import GAME as LITE_GAME
from sgdbd_jax.presets import RELEASE_DISCRIMINATOR
from sgdbd_jax.training.trials import Trial

RATES = {
    "generator_optimiser.learning_rate": 5e-4,
    "generator_optimiser.momentum": 0.9,
    "generator_optimiser.trunk_factor": 0.2,
}
GAME = {"steps": 75, "taught_steps": 0}
# The release's discriminators, which begin at random and norm real and fake batches apart.
RELEASED = {"discriminator": RELEASE_DISCRIMINATOR, "disc_warm_steps": 0, "disc_optimiser.learning_rate": 4e-4}
ALONE = {
    "warm_steps": 0,
    "steps": 200,
    "taught_steps": 0,
    "paste_weight": 0.0,
    "bilateral_weight": 1.0,
    "classifier_steps": 150,
    "classifier_batch": 8,
}
D_RATE = "disc_optimiser.learning_rate"
DEEP = {
    "discriminator.channels": (32, 64, 64, 128, 128, 256, 256, 256),
    "discriminator.strides": (1, 2, 1, 2, 1, 2, 1, 2),
    "patches": (1, 3, 5, 7),
    D_RATE: 5e-4,
}
SHORT = {"steps": 600}  # ten minutes on 2 cores
MUON = {"generator_optimiser.name": "muon", "generator_optimiser.learning_rate": 1e-3}
TRIALS = {
    "game": Trial("the game alone: no pastes for the generator", ALONE),
    "game_control": Trial(
        "the game alone, less what its discriminators say", {**ALONE, "eta": 0.0, "disc_warm_steps": 0}
    ),
    "game_plain": Trial("the game alone, less its bilateral loss", {**ALONE, "bilateral_weight": 0.0}),
    "game_released": Trial("the game alone, with the release's discriminators", {**ALONE, **RELEASED}),
    "warm": Trial("pastes alone, whose mask is known", {"taught_steps": 0}),
    "warm_game": Trial("pastes, then the game", GAME, after="warm"),
    "warm_control": Trial(
        "pastes, then the game, less what its discriminators say", {**GAME, "eta": 0.0}, after="warm"
    ),
    "warm_released": Trial(
        "pastes, then the game with the release's discriminators", {**GAME, **RELEASED}, after="warm"
    ),
    "self_trained": Trial("pastes, then its own masks: preset `self_trained`"),
    "game_taught": Trial("pastes, the game, then its own masks", after="warm_game"),
    "again": Trial(
        "pastes, the game, its own masks, these again on larger crops",
        {"taught_steps": 400, "crop": 272, "warm_batch": 4},
        after="game_taught",
    ),
    "supervised": Trial(
        "as Ours(S): our generator trained on masks",
        {"supervised": True, "steps": 800, "batch": 8, **RATES},
        needs_masks=True,
    ),
    # Preset `game`: the paper's game, played by light networks for thousands of rounds.
    "lite_game": Trial("the light game: preset `game`", preset=LITE_GAME),
    "lite_bilateral": Trial("the light game, with L_B", {"bilateral_weight": 1.0}, preset=LITE_GAME),
    "lite_control": Trial(
        "the light game, with L_B, less what its discriminators say",
        {"bilateral_weight": 1.0, "eta": 0.0},
        preset=LITE_GAME,
    ),
    "lite_short": Trial("the light game, 600 rounds", SHORT, preset=LITE_GAME),
    "lite_short_control": Trial(
        "600 rounds of L_B, less what discriminators say",
        {**SHORT, "bilateral_weight": 1.0, "eta": 0.0},
        preset=LITE_GAME,
    ),
    **{
        f"lite_{name}": Trial(f"the light game, {says}", changes, preset=LITE_GAME)
        for name, says, changes in (
            ("smooth", "composites of masks under a Gaussian of 3 pixels", {"smoothing": 3.0}),
            ("whole", "photos judged as wholes alone", {"patches": (0,)}),
            ("hard", "composites of the mask's decisions", {"hard": True}),
            (
                "hard_held",
                "composites of its decisions, R1; D's rate 5e-4",
                {"hard": True, "r1_weight": 1.0, D_RATE: 5e-4},
            ),
            ("held", "R1", {"r1_weight": 1.0}),
            ("cold", "temperature 0.5, in the game alone", {"temperature": 0.5}),
            ("ramped", "binarisation rising to 0.5", {"binarisation_weight": 0.5, "binarisation_ramp": 1500}),
            ("unpressed", "no binarisation; D's rate 5e-4", {"binarisation_weight": 0.0, D_RATE: 5e-4}),
            ("wide", "discriminators twice as wide, at 5e-4", {"discriminator.width": 2.0, D_RATE: 5e-4}),
            ("widest", "discriminators four times as wide, at 5e-4", {"discriminator.width": 4.0, D_RATE: 5e-4}),
            ("deep", "discriminators of 8 convolutions, which judge patches of 4 sizes, at 5e-4", DEEP),
            (
                "warmed",
                "discriminators that learned from pastes first, at 5e-4",
                {"disc_warm_steps": 300, D_RATE: 5e-4},
            ),
            ("quick", "discriminators at 1e-3", {D_RATE: 1e-3}),
            ("muon", "Muon for the generator", MUON),
            ("long", "7000 rounds; D's rate 5e-4", {"steps": 7000, D_RATE: 5e-4}),
        )
    },
}
