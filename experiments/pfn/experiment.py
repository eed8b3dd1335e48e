"""The experiment, to be read beside the paper; see the package's docstring for its claim and symbols."""

from core.papers.contract import Study
from experiments.pfn.bnn import bnn_trial
from experiments.pfn.hyper import estimator_trial, hyper_trial
from experiments.pfn.processes import gp_trial, head_trial
from experiments.pfn.tables import tables_trial

STUDIES = {
    "gp": Study(gp_trial),
    "tables": Study(tables_trial),
    "head_tuning": Study(head_trial),
    "head": Study(head_trial),
    "hyper": Study(hyper_trial),
    "bnn": Study(bnn_trial),
    "estimator": Study(estimator_trial),
}
