import Formats
import LinearAlgebra
import OrderedCollections
import Storage

/// Runs a model on samples and keeps the statistics of its activations.
///
/// Several samples run at a time, each with its own sums, which are added in the order of the
/// samples: the result depends neither on the number of threads nor on which sample finishes first.
/// Memory is bounded by `setCount` sets of sums, regardless of the number of samples.
package struct Calibrator: Sendable {
  /// The bit widths for which a second run records quantized inputs; empty for no second run.
  package let bitWidths: [Int]
  /// The method by which the bounds of those quantizers are found.
  package let search: BoundSearchMethod
  /// The granularity of their bounds, for sites that support it.
  package let scaling: ActivationScaling
  /// The number of samples that run at a time, at most `batchCount`; no result depends on it.
  package let threads: Int

  /// The most samples that run at a time.
  static let batchCount = 4

  /// The number of sets of sums in memory: of the samples that run, of their total, and zeros.
  var setCount: Int { min(threads, Self.batchCount) + 2 }

  /// Creates a calibrator; `calibrate(_:progress:)` runs it.
  ///
  /// - Parameters:
  ///   - bitWidths: each 1 to 8.
  ///   - scaling: the granularity of the bounds of quantized inputs, at which rows are recorded;
  ///     for `tensor`, whole rows are recorded.
  ///   - threads: at least 1.
  package init(
    bitWidths: [Int] = [], search: BoundSearchMethod = .dobi,
    scaling: ActivationScaling = .tensor, threads: Int
  ) {
    self.bitWidths = bitWidths
    self.search = search
    self.scaling = scaling
    self.threads = threads
  }

  /// Runs the model on every sample, and a second time if bit widths are given.
  ///
  /// - Parameter progress: called after each sample, from any thread.
  /// - Throws: any error of `source`; `ModelError` for values that are not finite, and for a source
  ///   without samples or values.
  package func calibrate(
    _ source: some ActivationSource, progress: (@Sendable () -> Void)? = nil
  ) throws -> Calibration {
    let plain = try run(source, quantizers: [:], progress: progress)
    guard !bitWidths.isEmpty else { return plain }
    var quantizers: [String: [ActivationQuantizer]] = [:]
    for (name, site) in plain.sites where ActivationSite.Kind(ofSite: name) == .input {
      quantizers[name] = bitWidths.map { bitWidth in
        ActivationBounds(method: search, bitWidth: bitWidth, scaling: scaling)
          .bounds(of: site, siteName: name)
      }
    }
    return try run(source, quantizers: quantizers, progress: progress)
  }

  private func run(
    _ source: some ActivationSource, quantizers: [String: [ActivationQuantizer]],
    progress: (@Sendable () -> Void)?
  ) throws -> Calibration {
    let sites = source.sites
    guard source.sampleCount > 0, !sites.isEmpty else {
      throw ModelError("there is nothing to calibrate with")
    }
    let empty = sites.map {
      SiteAccumulator($0, scaling: scaling, quantizers: quantizers[$0.name] ?? [])
    }
    var total = empty
    let batchCount = min(threads, Self.batchCount)
    for start in stride(from: 0, to: source.sampleCount, by: batchCount) {
      let count = min(batchCount, source.sampleCount - start)
      let sums = try parallelMap(count: count, threads: threads) { index in
        var sums = empty
        try source.run(sample: start + index) { site, values, columns in
          try sums[site].add(values, columns: columns)
        }
        progress?()
        return sums
      }
      for sample in sums {
        for site in total.indices { total[site].merge(sample[site]) }
      }
    }
    var calibration = Calibration()
    for sums in total { calibration.sites[sums.site.name] = try sums.statistics() }
    calibration.metadata["samples"] = "\(source.sampleCount)"
    return calibration
  }
}

/// A report on the material and the statistics of a calibration.
package struct CalibrationReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 2

  package let schemaVersion: Int
  package let model: String
  package let output: String
  /// The folder of images.
  package let images: String
  /// The number of images in the folder.
  package let imageCount: Int
  package let patchCount: Int
  /// Pixels of a patch's side, before upscaling.
  package let patchSide: Int
  package let seed: UInt64
  /// The number of rows of inputs with moments, over all sites.
  package let rowCount: Int
  /// The sites in the order of the forward pass.
  package let sites: [Site]

  package struct Site: Codable, Hashable, Sendable {
    package let name: String
    /// The number of values seen.
    package let valueCount: Int
    package let minimum: Double
    package let maximum: Double
    /// The number of values per row; `nil` if no moments were taken.
    package let columnCount: Int?
  }

  package init(
    model: String, output: String, images: String, imageCount: Int, patchCount: Int,
    patchSide: Int, seed: UInt64, calibration: Calibration
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.model = model
    self.output = output
    self.images = images
    self.imageCount = imageCount
    self.patchCount = patchCount
    self.patchSide = patchSide
    self.seed = seed
    sites = calibration.sites.map { name, site in
      Site(
        name: name, valueCount: site.histogram.count, minimum: site.histogram.minimum,
        maximum: site.histogram.maximum, columnCount: site.columnCount)
    }
    rowCount = sites.reduce(0) { sum, site in
      sum + (site.columnCount.map { site.valueCount / max(1, $0) } ?? 0)
    }
  }
}
