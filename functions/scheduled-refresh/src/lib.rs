//! The function `scheduled-refresh`.
