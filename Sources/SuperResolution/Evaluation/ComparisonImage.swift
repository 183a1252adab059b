import Imaging

extension EvaluationReport {
  /// The names of the columns of `comparisonImage`, from left to right.
  package var comparisonColumns: [String] {
    ["high resolution", "low resolution"] + methods.map(\.name)
  }

  /// The regions as one image of 8-bit RGB: one row per region, with the columns that
  /// `comparisonColumns` names; `nil` if there are no regions.
  ///
  /// Pixels are enlarged to squares, those of the low-resolution image `scale` times as much, so that
  /// all panels of a row have the same size. Gaps are white.
  package var comparisonImage: RasterImage? {
    let rows = regions.compactMap(\.crops).map { crops in
      [crops.highResolution, crops.lowResolution] + crops.results
    }
    let side = rows.map { $0[0].width }.max() ?? 0
    guard side > 0 else { return nil }
    let (zoom, gap) = (2, 6)
    let step = side * zoom + gap
    let (width, height) = (comparisonColumns.count * step - gap, rows.count * step - gap)
    var samples = [UInt16](repeating: 255, count: width * height * 3)
    for (row, panels) in rows.enumerated() {
      for (column, panel) in panels.enumerated() {
        let square = zoom * panels[0].width / panel.width
        for y in 0..<panel.height * square {
          for x in 0..<panel.width * square {
            let source = (y / square * panel.width + x / square) * panel.channelCount
            let target = ((row * step + y) * width + column * step + x) * 3
            for channel in 0..<3 {
              samples[target + channel] =
                panel.samples[source + (panel.colorChannelCount == 3 ? channel : 0)]
            }
          }
        }
      }
    }
    return RasterImage(
      width: width, height: height, channelCount: 3, bitDepth: .eight, samples: samples)
  }
}
