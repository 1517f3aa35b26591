"""The commands, a file each: `python -m experiments` lists them, `python -m experiments.NAME --help` explains one."""

COMMANDS = {
    "predict": "masks and focus reports for photos and clips; also installed as sgdbd",
    "stack": "focus stacks: which photo is sharp where, and a picture that is sharp all over",
    "serve": "a page to drop photos on, for this machine or any web host",
    "train": "trains a detector, on your photos or on scenes that it makes",
    "evaluate": "scores masks, or a detector's, against true masks",
    "results": "the table of what each part of the recipe is worth",
    "compare": "the detectors that the paper compares with, run beside ours: its Table 3",
    "tables": "the paper's ablations, Tables 1, 2 and 4 with Figure 4, trained and printed beside the paper's",
    "port_vgg16": "ImageNet's VGG16, from torchvision, Keras or a file, for networks to start from",
    "convert_release": "a network of the authors' released program, as a weight file of ours",
    "export": "a detector as a model file: ONNX for other programs, StableHLO for JAX without ours",
    "benchmark": "times and memory of training, prediction, data and start, beside their targets",
}
