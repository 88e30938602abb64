//! The function `telegram-relay`.
