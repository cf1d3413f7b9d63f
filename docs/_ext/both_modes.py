"""The directive ``picture``: one figure, with an image for light pages and one for dark ones."""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective


class Picture(SphinxDirective):
    """Show ``generated/NAME-light.png`` or ``-dark.png``, with its content as a caption."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {
        "alt": directives.unchanged_required,
        "width": directives.length_or_percentage_or_unitless,
    }

    def run(self) -> list[nodes.Node]:
        """Return the figure."""
        figure = nodes.figure(align="center")
        for mode in ("light", "dark"):
            image = nodes.image(
                uri=f"/generated/{self.arguments[0]}-{mode}.png",
                alt=self.options["alt"],
                classes=[f"on-{mode}", "dark-light"],  # the second: as it is, says the theme
            )
            if "width" in self.options:
                image["width"] = self.options["width"]
            figure += image
        if self.content:
            (paragraph,) = self.parse_content_to_nodes()
            figure += nodes.caption("", "", *paragraph.children)
        return [figure]


def setup(app: Any) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("picture", Picture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
