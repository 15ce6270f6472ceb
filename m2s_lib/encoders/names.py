"""Names of pretrained picture encoders, known without loading one."""

FORMS = "imagenet, timm:NAME, open_clip:ARCH/WEIGHTS or open_clip:FOLDER"


def is_picture_encoder(name: str) -> bool:
    """Whether a name has one of the forms that `picture_encoder` knows."""
    return name == "imagenet" or name.startswith(("timm:", "open_clip:"))
