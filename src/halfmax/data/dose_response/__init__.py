"""Dose response: wells of a screen → viability → fitted curves → ln IC50, AUC and what else a curve says."""

from __future__ import annotations

from halfmax.data.dose_response.figure import plot_curve as plot_curve
from halfmax.data.dose_response.fits import CurveFits as CurveFits
from halfmax.data.dose_response.fits import fit_curves as fit_curves
from halfmax.data.dose_response.plates import Plates as Plates
from halfmax.data.dose_response.plates import normalise_plates as normalise_plates
from halfmax.data.dose_response.screens import wells_from_ccle as wells_from_ccle
from halfmax.data.dose_response.screens import wells_from_gdsc as wells_from_gdsc
from halfmax.data.dose_response.shared import shared_auc as shared_auc
from halfmax.data.dose_response.sigmoid import Limits as Limits
from halfmax.data.dose_response.wells import check_wells as check_wells
