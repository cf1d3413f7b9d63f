"""Formulas as MathML, which browsers draw by themselves: no script, nothing to download."""

from __future__ import annotations

from typing import Any

from docutils.nodes import SkipNode, math, math_block
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

_logger = logging.getLogger(__name__)


def setup(app: Any) -> dict[str, Any]:
    """Register the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: Any, node: math) -> None:
    translator.body.append(_converted(node))
    raise SkipNode


def _block(translator: Any, node: math_block) -> None:
    translator.body.append(f'<div class="formula">{_converted(node, as_block=True)}</div>\n')
    raise SkipNode


def _converted(node: math | math_block, as_block: bool = False) -> str:
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        _logger.warning("formula not understood: %s", error, location=node)
        return node.astext()
