"""Report: what a run found, as tables and as one page; the page's words, numbers and plots."""

from __future__ import annotations

from halfmax.report.report import Report as Report
