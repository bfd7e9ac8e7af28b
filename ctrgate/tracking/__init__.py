"""MLflow, the only place that imports it: runs, and the client that the registry works with."""

from ctrgate.tracking.client import connect, database, probe, reason
from ctrgate.tracking.pyfunc import DATA, place_of, write_pyfunc
from ctrgate.tracking.settings import TrackingConfig
from ctrgate.tracking.spool import SPOOL, sync
from ctrgate.tracking.store import RUN_TAG
from ctrgate.tracking.tracker import RUN_FILE, Tracker, flatten, open_tracker

__all__ = [
    "DATA",
    "RUN_FILE",
    "RUN_TAG",
    "SPOOL",
    "Tracker",
    "TrackingConfig",
    "connect",
    "database",
    "flatten",
    "open_tracker",
    "place_of",
    "probe",
    "reason",
    "sync",
    "write_pyfunc",
]
