//! The function `oauth-authorize`.
