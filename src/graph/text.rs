//! Text form (to come).
