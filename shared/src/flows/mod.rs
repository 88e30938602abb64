//! What two functions need of store, queue and providers together.
