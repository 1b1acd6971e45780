//! The operators' listener: health, metrics, inventory. Cannot reach the data path.
