//! The function `telegram-forward`.
