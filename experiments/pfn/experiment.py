"""The experiment, to be read beside the paper; see the package's docstring for its claim and symbols."""

from core.papers.contract import Study
from experiments.pfn.bnn import bnn_prepare, bnn_trial
from experiments.pfn.hyper import hyper_prepare, hyper_trial
from experiments.pfn.processes import gp_trial, head_trial
from experiments.pfn.tables import tables_trial

STUDIES = {
    "gp": Study(gp_trial),
    "tables": Study(tables_trial),
    "head": Study(head_trial),
    "hyper": Study(hyper_trial, prepare=hyper_prepare),
    "bnn": Study(bnn_trial, prepare=bnn_prepare),
}
