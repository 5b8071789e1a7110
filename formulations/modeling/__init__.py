"""The same relaxation in two modelling languages, for readers who want to change it and as independent statements.

CVXPY and PICOS are imported when a model is built, so that ``import formulations`` needs neither.
"""

from formulations.modeling.cvxpy_model import CvxpyHandles, cvxpy_model
from formulations.modeling.picos_model import picos_model

__all__ = ["CvxpyHandles", "cvxpy_model", "picos_model"]
