//! What a kWh emits in the regions of cloud providers: `data/grid_intensity.csv`.
//!
//! Means of a year for the grid around a region, location-based; sources and licences are in `data/README.md`. Azure's
//! regions stand there under the names for people (`East US 2`), which its nodes' labels have without spaces in lower
//! case.

use std::sync::{Arc, LazyLock};

use crate::cost::pricing::{Grid, GridIntensity};
use crate::yaml::decimal;

const INTENSITIES: &str = include_str!("../../data/grid_intensity.csv");

/// The table that is compiled in, read once.
pub(super) fn built_in() -> Arc<Grid> {
    static GRID: LazyLock<Arc<Grid>> = LazyLock::new(|| Arc::new(read(INTENSITIES)));
    Arc::clone(&GRID)
}

/// Reads lines of `provider,region,location,gco2e_per_kwh,data_year` and more. A test reads all of them; one that cannot
/// be read would be a region that nobody knows.
fn read(table: &str) -> Grid {
    let mut grid = Grid::default();
    for line in table.lines().skip(1) {
        let values: Vec<&str> = line.split(',').collect();
        let [provider, region, _, grams, year, ..] = values[..] else { continue };
        let Ok(grams_per_kwh) = decimal::billionths(grams) else { continue };
        let region = region.replace(' ', "").to_ascii_lowercase();
        let origin = format!("built_in:{provider}/{region}@{year}").into();
        grid.insert(provider, &region, GridIntensity { grams_per_kwh, origin });
    }
    grid
}
