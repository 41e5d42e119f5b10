//! Ignition: transpile Butane, merge, validate.
