"""One driver per SDK and format: the unmodified SDK, used as its documentation shows, behind one small interface."""
