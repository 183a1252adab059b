import Formats

extension DiffReport {
  /// How the magnitudes of the changes are spread, for the tensors that changed most.
  var histograms: [ReportHistogram] {
    let measured = changed.compactMap { change in
      change.numbers.flatMap { numbers in
        numbers.histogram.map { (change: change, numbers: numbers, histogram: $0) }
      }
    }
    return measured.sorted { $0.numbers.signalToNoise < $1.numbers.signalToNoise }
      .prefix(Self.histogramLimit).map { found in
        let low = found.histogram.lowestExponent
        return ReportHistogram(
          title: found.change.name,
          caption:
            "|b − a| in powers of two, from 2^\(low) to 2^\(low + found.histogram.counts.count)"
            + "; \(found.numbers.changedElementCount) of \(found.numbers.elementCount) changed",
          bins: found.histogram.counts.enumerated().map { index, count in
            ReportHistogram.Bin(label: "2^\(low + index) to 2^\(low + index + 1)", count: count)
          })
      }
  }

  /// A page with a picture for each of a thousand tensors helps nobody.
  private static let histogramLimit = 48
}
