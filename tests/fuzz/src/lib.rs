//! What several fuzz targets need.

pub mod house;
pub mod place;
pub mod world;
