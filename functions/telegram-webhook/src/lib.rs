//! The function `telegram-webhook`.
