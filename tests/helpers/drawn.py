"""What a figure shows: its texts, its pictures, and that nothing covers anything."""

import io


def texts(fig):
    """Everything that is written, as a reader sees it."""
    found = [*fig.texts, *(t for axes in fig.axes for t in axes.texts)]
    return [t.get_text().replace(r"\$", "$") for t in found if t.get_text()]


def pictures(fig):
    return [axes for axes in fig.axes if axes.images]


def check_layout(fig):
    """Nothing is drawn outside the figure, and no two texts or pictures cover one another."""
    fig.savefig(io.BytesIO(), dpi=100)
    renderer = fig.canvas.get_renderer()
    boxes = [t.get_window_extent(renderer) for t in fig.texts]
    boxes += [axes.images[0].get_window_extent(renderer) for axes in pictures(fig)]
    width, height = fig.get_size_inches() * fig.dpi
    for i, box in enumerate(boxes):
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1
        for other in boxes[i + 1 :]:
            wide = min(box.x1, other.x1) - max(box.x0, other.x0)
            high = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert wide < 2 or high < 2
