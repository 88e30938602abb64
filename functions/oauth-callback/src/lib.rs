//! The function `oauth-callback`.
