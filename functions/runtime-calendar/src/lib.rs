//! The function `runtime-calendar`.
