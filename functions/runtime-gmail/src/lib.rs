//! The function `runtime-gmail`.
