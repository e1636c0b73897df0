"""The rows of the benchmark: what is trained, on which batch, by which optimiser, and what is asked of it.

networks.py has each in PyTorch and models/NAME.json in Vintner's layer language.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    `ratio` is what is asked of our float32 step against eager PyTorch's; where arithmetic binds, `share` of the
    machine's matrix-product peak is asked instead and the ratio follows from what PyTorch reaches.
    """

    title: str
    input: tuple
    ratio: float
    share: float = 0.0
    loss: str = "cross_entropy"
    optimizer: str = "sgd"
    batch: int = 64
    classes: int = 10
    has_images: bool = False
    clip: float = 0.0
    bf16_ratio: float = 0.0


ROWS = {
    "linear": Row("Linear 10-10, MSE", (10,), ratio=10, loss="mse"),
    "mlp": Row("MLP 784-500-10", (784,), ratio=3),
    "lenet_300_100": Row("MLP 784-300-100-10, AdamW", (784,), ratio=3, optimizer="adamw"),
    "lenet5_caffe": Row("LeNet-5-Caffe", (1, 28, 28), ratio=3, has_images=True),
    "separable": Row("Five depthwise-separable blocks", (3, 32, 32), ratio=3, bf16_ratio=3, has_images=True),
    "standard": Row("Its standard-convolution twin", (3, 32, 32), ratio=1.4, share=0.75, has_images=True),
    "resnet20": Row("ResNet-20", (3, 32, 32), ratio=1.4, share=0.75, has_images=True),
    "nanogpt": Row("nanoGPT's CPU configuration, AdamW", (64,), ratio=2.5, share=0.75, bf16_ratio=3,
                   optimizer="adamw", batch=12, classes=65, clip=1.0),
    "vit_tiny": Row("ViT-tiny, patches of 4, AdamW", (3, 32, 32), ratio=2, share=0.75, optimizer="adamw",
                    has_images=True),
}
