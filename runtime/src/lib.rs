//! Stub until the runtime lands.
/// Worker team.
pub struct Team;
/// Profile.
pub struct Profile;
