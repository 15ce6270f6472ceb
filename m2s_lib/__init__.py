"""Movies2Scenes: scene representations learned from film metadata (CVPR 2023).

One letter an axis, everywhere in the library:

    b batch          n shots in a scene     k frames in a shot    c h w image (channels, height, width)
    p patch side     N patches of a frame   D width of a model    d width of a feature
    u v shots of film 1 and of film 2       K queue length

``films`` turns files into shots and films into similar pairs; ``method`` is the paper; ``evaluation``
measures frozen features; ``display`` draws what it is given; ``runs`` executes the notebooks.
"""

__version__ = "0.1.0"
