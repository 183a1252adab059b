import Formats
import Foundation
import LinearAlgebra
import Storage
import TestSupport
import Testing

@testable import Transform

/// Two linear layers with seeded rows as samples: enough of a model to calibrate.
struct LinearNetwork: ActivationSource {
  static let columns = [6, 4]
  /// The number of values per row at each site, as the model quantizes them.
  static let rowLengths = [6, 4, 4]
  let sampleCount: Int
  var rowCount = 50
  /// The origin of the first site's values.
  var origin: ActivationSite.Origin?

  var sites: [ActivationSite] {
    [
      ActivationSite(
        name: "a.input", kind: .input, weightName: "a.weight", columnCount: 6, origin: origin),
      ActivationSite(name: "b.input", kind: .input, weightName: "b.weight", columnCount: 4),
      ActivationSite(
        name: "b.probabilities", kind: .probabilities, weightName: nil, columnCount: 1),
    ]
  }

  static func weight(_ index: Int) -> Matrix {
    var generator = SplitMix(seed: UInt64(100 + index))
    let (rows, columns) = index == 0 ? (4, 6) : (5, 4)
    return Matrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { _ in Double(Float(generator.nextNormal())) })
  }

  /// Returns the rows of both inputs of a sample, and positive values.
  func rows(_ sample: Int) -> [[Float]] {
    var generator = SplitMix(seed: UInt64(sample))
    let first = (0..<rowCount * 6).map { (index: Int) -> Float in
      generator.nextNormal() * Float(1 + index % 6) + Float(index % 3)
    }
    let weight = Self.weight(0)
    var second: [Float] = []
    for row in 0..<rowCount {
      for output in 0..<4 {
        var sum: Float = 0
        for input in 0..<6 { sum += Float(weight[output, input]) * first[row * 6 + input] }
        second.append(sum)
      }
    }
    return [first, second, second.map { $0 * $0 / 1000 }]
  }

  func run(
    sample: Int, observe: (Int, UnsafeBufferPointer<Float>, Int) throws -> Void
  ) throws {
    for (site, values) in rows(sample).enumerated() {
      // The rows come in two pieces, as from an engine that works window by window.
      let columns = Self.rowLengths[site]
      let half = values.count / columns / 2 * columns
      try values.withUnsafeBufferPointer {
        try observe(site, UnsafeBufferPointer(rebasing: $0[..<half]), columns)
        try observe(site, UnsafeBufferPointer(rebasing: $0[half...]), columns)
      }
    }
  }

  static func archive(elementType: ElementType = .float32) throws -> TensorArchive {
    var archive = TensorArchive()
    for (index, name) in ["a", "b"].enumerated() {
      let weight = weight(index)
      archive.tensors["\(name).weight"] = try Tensor(
        elementType: elementType, shape: Shape([weight.rows, weight.columns]) ?? .scalar,
        bytes: elementType.bytes(of: weight.values))
      archive.tensors["\(name).bias"] = try Tensor(
        elementType: elementType, shape: Shape([weight.rows]) ?? .scalar,
        bytes: elementType.bytes(of: (0..<weight.rows).map { Double($0) / 4 }))
    }
    return archive
  }
}

@Suite struct CalibrationTests {
  @Test(arguments: [1, 3, 8]) func statisticsMatchPlainSums(_ threads: Int) throws {
    let network = LinearNetwork(sampleCount: 7)
    let calibration = try Calibrator(bitWidths: [2, 4], threads: threads).calibrate(network)
    #expect(Array(calibration.sites.keys) == network.sites.map(\.name))
    for (index, site) in network.sites.enumerated() {
      let values = (0..<7).flatMap { network.rows($0)[index] }
      let found = try #require(calibration.sites[site.name])
      #expect(found.count == values.count)
      #expect(found.histogram.minimum == values.min().map(Double.init))
      #expect(found.histogram.maximum == values.max().map(Double.init))
      let columns = site.columnCount
      guard columns > 1 else {
        #expect(found.moments == nil)
        continue
      }
      let moments = try #require(found.moments)
      let rowCount = values.count / columns
      func expect(
        _ moment: Matrix, isOf left: [Float], _ right: [Float], within tolerance: Double = 1e-10
      ) {
        for row in 0..<columns {
          for column in 0..<columns {
            let sum = (0..<rowCount).reduce(0.0) {
              $0 + Double(left[$1 * columns + row]) * Double(right[$1 * columns + column])
            }
            let mean = sum / Double(rowCount)
            #expect(abs(moment[row, column] - mean) < tolerance * (1 + abs(mean)))
          }
        }
      }
      expect(moments.second, isOf: values, values)
      for bits in [2, 4] {
        let images = try #require(found.quantized[bits])
        let code = ActivationQuantizer(
          name: "", bitWidth: bits, lower: images.lower, upper: images.upper
        ).code
        // The engine's quantizer rounds differently in the last place.
        let quantized = values.map { code.decode(code.encode($0)) }
        expect(images.second, isOf: quantized, quantized, within: 1e-5)
        expect(images.cross, isOf: values, quantized, within: 1e-5)
      }
    }
  }

  @Test func outputsOfNormalizationsHaveWiderStaticBounds() throws {
    func bounds(_ origin: ActivationSite.Origin?) throws -> [SiteStatistics.QuantizedMoments] {
      let calibration = try Calibrator(bitWidths: [2], search: .free, threads: 2)
        .calibrate(LinearNetwork(sampleCount: 7, origin: origin))
      let archive = try calibration.archive()
      #expect(try Calibration(archive) == calibration)
      #expect(
        (archive.tensors["a.input/is_after_normalization"] != nil)
          == (origin?.isNormalization ?? false))
      return try ["a.input", "b.input"].map {
        try #require(calibration.sites[$0]?.quantized[2])
      }
    }
    let (plain, normalized, gated) = try (
      bounds(nil), bounds(.normalization("norm")), bounds(.gate("gate"))
    )
    #expect(normalized[0].upper - normalized[0].lower > plain[0].upper - plain[0].lower)
    #expect(normalized[1] == plain[1])
    #expect(gated == plain)
  }

  @Test func rowStatisticsMatchModel() throws {
    let network = LinearNetwork(sampleCount: 7)
    let calibration = try Calibrator(bitWidths: [2], scaling: .row, threads: 2).calibrate(network)
    for (index, site) in network.sites.enumerated() {
      let values = (0..<7).flatMap { network.rows($0)[index] }
      let found = try #require(calibration.sites[site.name])
      let length = LinearNetwork.rowLengths[index]
      var energies = [Double](repeating: 0, count: 2048)
      for start in stride(from: 0, to: values.count, by: length) {
        let row = values[start..<start + length].map(Double.init)
        let largest = row.map(abs).max() ?? 0
        for value in row {
          energies[min(2047, Int(((value / largest + 1) * 1024).rounded(.down)))] +=
            largest * largest
        }
      }
      let rows = try #require(found.rows)
      // A value on the edge of a bin may lie on either side.
      let moved = zip(rows.energies, energies).reduce(0) { $0 + abs($1.0 - $1.1) }
      #expect(moved <= 0.01 * energies.reduce(0, +))
      guard site.columnCount > 1 else { continue }
      let images = try #require(found.quantized[2])
      #expect(images.scaling == .row)
      #expect(images.lower >= -1 && images.upper <= 1 && images.lower < -0.3)
      let quantized = (0..<values.count / length).flatMap { row -> [Float] in
        let row = values[row * length..<(row + 1) * length]
        let largest = row.reduce(0) { max($0, abs($1)) }
        let code = AffineCode(
          lower: images.lower * largest, scale: (images.upper - images.lower) * largest / 3,
          bitWidth: 2)
        return row.map { code.decode(code.encode($0)) }
      }
      let mean = quantized.reduce(0.0) { $0 + Double($1) } / Double(values.count)
      #expect(abs(images.mean.reduce(0, +) / Double(length) - mean) < 2e-3)
    }
  }

  @Test func groupStatisticsMatchModel() throws {
    let network = LinearNetwork(sampleCount: 7)
    let calibration = try Calibrator(bitWidths: [2], scaling: .group(4), threads: 2)
      .calibrate(network)
    for (index, site) in network.sites.enumerated() {
      let values = (0..<7).flatMap { network.rows($0)[index] }
      let found = try #require(calibration.sites[site.name])
      let length = LinearNetwork.rowLengths[index]
      let rows = try #require(found.rows)
      guard site.kind == .input else {
        #expect(rows.scaling == .row)
        continue
      }
      #expect(rows.scaling == .group(4))
      let images = try #require(found.quantized[2])
      #expect(images.scaling == .group(4))
      var energy = 0.0
      var quantized: [Float] = []
      for start in stride(from: 0, to: values.count, by: length) {
        for first in stride(from: start, to: start + length, by: 4) {
          let group = values[first..<min(first + 4, start + length)]
          let (least, greatest) = (group.min() ?? 0, group.max() ?? 0)
          let half = Double(greatest - least) / 2
          energy += half * half * Double(group.count)
          let (middle, reach) = ((least + greatest) / 2, (greatest - least) / 2)
          let lower = middle + images.lower * reach
          let scale = (images.upper - images.lower) * reach / 3
          let code = AffineCode(lower: lower, scale: scale, bitWidth: 2)
          quantized += group.map { code.decode(code.encode($0)) }
        }
      }
      #expect(abs(rows.energies.reduce(0, +) - energy) <= 1e-5 * energy)
      let mean = quantized.reduce(0.0) { $0 + Double($1) } / Double(values.count)
      #expect(abs(images.mean.reduce(0, +) / Double(length) - mean) < 2e-3)
    }
  }

  /// A convolution of 2 channels and 3 taps, whose patches follow its pixels.
  private struct ConvolutionNetwork: ActivationSource {
    var channels = 2
    let sampleCount = 3
    var sites: [ActivationSite] {
      [
        ActivationSite(
          name: "c.input", kind: .input, weightName: "c.weight", columnCount: channels,
          tapCount: 3)
      ]
    }

    func values(_ sample: Int) -> [Float] {
      var generator = SplitMix(seed: UInt64(sample))
      return (0..<channels * 3 * 20).map { _ in generator.nextNormal() }
    }

    func run(
      sample: Int, observe: (Int, UnsafeBufferPointer<Float>, Int) throws -> Void
    ) throws {
      try values(sample).withUnsafeBufferPointer {
        try observe(0, $0, channels)
        try observe(0, UnsafeBufferPointer(rebasing: $0[..<(channels * 3 * 10)]), channels * 3)
      }
    }
  }

  /// Moments are of patches, in the order of a weight's columns: the taps of one channel after
  /// another.
  @Test(arguments: [ActivationScaling.tensor, .row]) func momentsOfPatchesMatchPlainSums(
    _ scaling: ActivationScaling
  ) throws {
    let network = ConvolutionNetwork()
    let calibration = try Calibrator(bitWidths: [2], scaling: scaling, threads: 2)
      .calibrate(network)
    let site = try #require(calibration.sites["c.input"])
    #expect(site.count == 3 * 2 * 3 * 20 && site.tapCount == 3 && site.columnCount == 2)
    let moments = try #require(site.moments)
    let images = try #require(site.quantized[2])
    let quantizer = ActivationQuantizer(
      name: "c.input", bitWidth: 2, lower: images.lower, upper: images.upper, scaling: scaling)
    var patches: [[Double]] = []
    var rounded: [[Double]] = []
    for sample in 0..<3 {
      let values = network.values(sample)
      let found = values.withUnsafeBufferPointer { quantizer.images(of: $0, columns: 2) }
      for patch in 0..<10 {
        let order = [0, 2, 4, 1, 3, 5].map { patch * 6 + $0 }
        patches.append(order.map { Double(values[$0]) })
        rounded.append(order.map { found[$0] })
      }
    }
    for row in 0..<6 {
      for column in 0..<6 {
        func expect(_ moment: Matrix, _ left: [[Double]], _ right: [[Double]]) {
          let sum = zip(left, right).reduce(0) { $0 + $1.0[row] * $1.1[column] }
          #expect(abs(moment[row, column] - sum / 30) < 1e-10)
        }
        expect(moments.second, patches, patches)
        expect(images.second, rounded, rounded)
        expect(images.cross, patches, rounded)
      }
    }
    #expect(try Calibration(calibration.archive()) == calibration)
    var archive = try calibration.archive()
    archive.tensors["c.input/tap_count"] = try .integers([4], .scalar)
    #expect(
      throws: ModelError.malformed("'tap_count' is 4.0, which does not divide the 6 of 'mean'")
        .located(tensor: "c.input")
    ) { try Calibration(archive) }
  }

  @Test func momentsOfLongPatchesAreNotTaken() throws {
    let calibration = try Calibrator(bitWidths: [2], threads: 1)
      .calibrate(ConvolutionNetwork(channels: 193))
    let site = try #require(calibration.sites["c.input"])
    #expect(site.moments == nil && site.quantized.isEmpty && site.rows != nil)
  }

  @Test func momentsOfPatchesMustFitWeight() throws {
    let calibration = try Calibrator(threads: 1).calibrate(ConvolutionNetwork())
    var archive = TensorArchive()
    func weight(_ dimensions: [Int]) throws -> Tensor {
      try .reals([Double](repeating: 1, count: dimensions.reduce(1, *)), dimensions)
    }
    archive.tensors["c.weight"] = try weight([4, 2, 3, 1])
    try calibration.check(against: archive)
    archive.tensors["c.weight"] = try weight([4, 2, 3, 3])
    #expect(
      throws: ModelError(
        "'c.weight' has 18 columns, but the calibrated inputs have 6", tensor: "c.input")
    ) { try calibration.check(against: archive) }
  }

  /// Queries and keys of tokens have one range per head, as do values whose channels are mixed.
  @Test func headsFormGroups() {
    func measure(
      _ kind: ActivationSite.Kind, _ heads: Int?, _ scaling: ActivationScaling
    ) -> ActivationScaling {
      ActivationSite(
        name: "a.\(kind)", kind: kind, weightName: nil, columnCount: 60, headChannelCount: heads
      ).nearest(to: scaling)
    }
    #expect(measure(.input, nil, .group(16)) == .group(16))
    #expect(measure(.input, nil, .row) == .row)
    #expect(measure(.probabilities, nil, .group(16)) == .row)
    #expect(measure(.query, 10, .group(16)) == .group(10))
    #expect(measure(.value, nil, .group(16)) == .tensor)
    // A head of one channel has no range.
    #expect(measure(.key, 1, .group(16)) == .tensor)
    #expect(measure(.key, 10, .row) == .tensor)
    #expect(
      ActivationSite.Kind.allCases.map { measure($0, 10, .tensor) }.allSatisfy { $0 == .tensor })
  }

  @Test func uniformGroupsAreNotCounted() {
    var histogram = RowHistogram(.group(2))
    let equal: [Float] = [3, 3, 1e-35, -1e-38, 5]
    equal.withUnsafeBufferPointer { histogram.add($0, columns: 5) }
    #expect(histogram.isEmpty)
    let different: [Float] = [3, 4, 7, 7, 5]
    different.withUnsafeBufferPointer { histogram.add($0, columns: 5) }
    #expect(histogram.energies.reduce(0, +) == 2 * 0.25)
    #expect(histogram.range == -1...1)
  }

  /// The bounds found lose least: slightly wider or narrower ones lose more.
  @Test(arguments: [2, 4]) func rowBoundsLoseLeast(_ bits: Int) throws {
    var generator = SplitMix(seed: 9)
    var histogram = RowHistogram()
    var rows: [[Float]] = []
    for _ in 0..<400 {
      let size = exp(generator.nextNormal())
      rows.append((0..<24).map { _ in size * generator.nextNormal() })
    }
    for row in rows { row.withUnsafeBufferPointer { histogram.add($0, columns: 24) } }
    let site = SiteStatistics(histogram: ActivationHistogram(), rows: histogram)
    let found = ActivationBounds(method: .free, bitWidth: bits, scaling: .row)
      .bounds(of: site, siteName: "a.input")
    #expect(found.scaling == .row)
    func loss(_ factor: Float) -> Double {
      var quantizer = found
      (quantizer.lower, quantizer.upper) = (found.lower * factor, found.upper * factor)
      return rows.reduce(0) { sum, row in
        let images = row.withUnsafeBufferPointer { quantizer.images(of: $0, columns: 24) }
        return zip(row, images).reduce(sum) {
          $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1)
        }
      }
    }
    #expect(loss(1) < loss(0.85) && loss(1) < loss(1.15))
  }

  /// Rows of zeros and rows of the smallest magnitudes both count as rows of zeros.
  @Test func zeroRowsHaveNoBounds() {
    var histogram = RowHistogram()
    [Float](repeating: 0, count: 8).withUnsafeBufferPointer { histogram.add($0, columns: 4) }
    [1e-35, -1e-38, 0, 0].withUnsafeBufferPointer { histogram.add($0, columns: 4) }
    #expect(histogram.isEmpty)
    var values = ActivationHistogram()
    [Float](repeating: 0, count: 8).withUnsafeBufferPointer { values.add($0) }
    let found = ActivationBounds(method: .free, bitWidth: 2, scaling: .row)
      .bounds(of: SiteStatistics(histogram: values, rows: histogram), siteName: "a.input")
    #expect(found.scaling == .tensor && found.lower == 0 && found.upper == 0)
  }

  @Test(arguments: [2, 5]) func calibrationDoesNotDependOnThreads(_ threads: Int) throws {
    let network = LinearNetwork(sampleCount: 9)
    let single = try Calibrator(bitWidths: [3], threads: 1).calibrate(network)
    #expect(try Calibrator(bitWidths: [3], threads: threads).calibrate(network) == single)
  }

  @Test(arguments: [ActivationScaling.row, .group(4)])
  func calibrationArchivesRoundTrip(_ scaling: ActivationScaling) throws {
    var calibration = try Calibrator(bitWidths: [2, 8], scaling: scaling, threads: 2).calibrate(
      LinearNetwork(sampleCount: 3))
    calibration.metadata["images"] = "none"
    try withTemporaryFolder { folder in
      let path = folder.appending("a.calib.npz")
      try FormatRegistry.standard.write(calibration.archive(), as: NPZFormat(), to: path)
      #expect(try Calibration(contentsOf: path) == calibration)
    }
  }

  @Test func invalidValuesAreNamed() throws {
    let site = ActivationSite(name: "a.input", kind: .input, weightName: nil, columnCount: 2)
    var accumulator = SiteAccumulator(site)
    #expect(
      throws: ModelError("value 1 is nan", tensor: "a.input")
    ) { try [1, .nan].withUnsafeBufferPointer { try accumulator.add($0, columns: 2) } }
    #expect(
      throws: ModelError(
        "expected rows of 2, found 3 values in rows of 2",
        tensor: "a.input")
    ) { try [1, 2, 3].withUnsafeBufferPointer { try accumulator.add($0, columns: 2) } }
    #expect(
      throws: ModelError(
        "expected rows of 2, found 4 values in rows of 4",
        tensor: "a.input")
    ) { try [1, 2, 3, 4].withUnsafeBufferPointer { try accumulator.add($0, columns: 4) } }
    #expect(
      throws: ModelError("no values were seen", tensor: "a.input")
    ) { try accumulator.statistics() }
  }

  @Test func sourcesWithoutSamplesAreRefused() {
    #expect(
      throws: ModelError("there is nothing to calibrate with")
    ) { try Calibrator(threads: 1).calibrate(LinearNetwork(sampleCount: 0)) }
  }

  // MARK: Damaged archives

  private struct Damage: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let tensor: String?
    let change: @Sendable (inout TensorArchive) throws -> Void

    init(
      _ reason: String, at tensor: String? = "a.input",
      _ change: @escaping @Sendable (inout TensorArchive) throws -> Void
    ) {
      testDescription = reason
      self.tensor = tensor
      self.change = change
    }
  }

  private static let damages: [Damage] = [
    Damage("it is not a calibration: the array 'version' is missing", at: nil) {
      $0.tensors["version"] = nil
    },
    Damage("version 1 is not supported, only 2: calibrate again", at: nil) {
      $0.tensors["version"] = try .integers([1], .scalar)
    },
    Damage("version 9223372036854775808 is not supported, only 2", at: nil) {
      $0.tensors["version"] = try .integers([.max], .scalar)
    },
    Damage("the array 'stray' belongs to no site", at: nil) {
      $0.tensors["stray"] = try .integers([2], .scalar)
    },
    Damage("the array 'colour' is unknown") {
      $0.tensors["a.input/colour"] = try .integers([2], .scalar)
    },
    Damage("the array 'edges' is missing") { $0.tensors["a.input/edges"] = nil },
    Damage("there is 'quantized/2/bounds' but no 'mean'") {
      $0.tensors["a.input/mean"] = nil
      $0.tensors["a.input/second_moment"] = nil
    },
    Damage("'range' is not in order") { $0.tensors["a.input/range"] = try .reals([1, 0], [2]) },
    Damage("'edges' do not enclose 'range'") {
      $0.tensors["a.input/edges"] = try .reals([0, 1e-3], [2])
    },
    Damage("the counts of 'histogram' add up to 900, but 'count' is 901.0") {
      $0.tensors["a.input/count"] = try .integers([901], .scalar)
    },
    Damage("'histogram' has a count that is negative or not an integer") {
      var counts = [Double](repeating: 0, count: 2048)
      counts[5] = -1
      $0.tensors["a.input/histogram"] = try .reals(counts, [2048])
    },
    Damage("'histogram' has the shape [3], not [2048]") {
      $0.tensors["a.input/histogram"] = try .integers([1, 2, 3], [3])
    },
    Damage("'second_moment' has the shape [2, 2], not [6, 6]") {
      $0.tensors["a.input/second_moment"] = try .reals([1, 0, 0, 1], [2, 2])
    },
    Damage("'second_moment' is not symmetric at row 1, column 0") {
      var moment = Matrix(identity: 6)
      moment[0, 1] = 0.5
      $0.tensors["a.input/second_moment"] = try .reals(moment.values, [6, 6])
    },
    Damage("'second_moment' is not positive semidefinite") {
      var moment = Matrix(identity: 6)
      moment[3, 3] = -1
      $0.tensors["a.input/second_moment"] = try .reals(moment.values, [6, 6])
    },
    Damage("element 2 of 'mean' is inf") {
      $0.tensors["a.input/mean"] = try .reals([0, 0, .infinity, 0, 0, 0], [6])
    },
    Damage("'row_histogram' has an energy that is negative") {
      var energies = [Double](repeating: 0, count: 2048)
      energies[7] = -1
      $0.tensors["a.input/row_histogram"] = try .reals(energies, [2048])
    },
    Damage("the energies of 'row_histogram' add up to more than Float64 holds") {
      let energies = [Double](repeating: 1e308, count: 2048)
      $0.tensors["a.input/row_histogram"] = try .reals(energies, [2048])
    },
    Damage("there is 'quantized/3/is_row_scaled' but no 'quantized/3/bounds'") {
      $0.tensors["a.input/quantized/3/is_row_scaled"] = try .integers([1], .scalar)
    },
    Damage("'row_histogram' is int64, whose sums are too coarse") {
      let counts = [Int](repeating: 1, count: 2048)
      $0.tensors["a.input/row_histogram"] = try .integers(counts, [2048])
    },
    Damage("'row_histogram' has the shape [2], not [2048]") {
      $0.tensors["a.input/row_histogram"] = try .reals([1, 2], [2])
    },
    Damage("'group_size' is 1.0, not an integer from 2 to 65536") {
      $0.tensors["a.input/group_size"] = try .integers([1], .scalar)
    },
    Damage("there is 'group_size' but nothing measured in groups") {
      $0.tensors["a.input/group_size"] = try .integers([4], .scalar)
      $0.tensors["a.input/row_histogram"] = nil
      $0.tensors["a.input/quantized/2/is_row_scaled"] = nil
    },
    Damage("'group_size' is 2.5, not an integer from 2 to 65536") {
      $0.tensors["a.input/group_size"] = try .reals([2.5], [])
    },
    Damage("'quantized/2/is_row_scaled' is 2.0, not 0 or 1") {
      $0.tensors["a.input/quantized/2/is_row_scaled"] = try .integers([2], .scalar)
    },
    Damage("'quantized/2/bounds' are not in order or beyond Float32") {
      $0.tensors["a.input/quantized/2/bounds"] = try .reals([2, 1], [2])
    },
  ]

  @Test(arguments: damages) private func archiveDamageIsNamed(_ damage: Damage) throws {
    var archive = try Calibrator(bitWidths: [2], threads: 1).calibrate(
      LinearNetwork(sampleCount: 3)
    ).archive()
    try damage.change(&archive)
    let broken = archive
    let error = #expect(throws: ModelError.self) { try Calibration(broken) }
    #expect(error?.problem == .malformed(damage.testDescription))
    #expect(error?.tensor == damage.tensor)
  }

  /// The energies are not Σ m² but, for example, counts.
  @Test func rowsThatContradictMomentsAreRefused() throws {
    let network = LinearNetwork(sampleCount: 3)
    var archive = try Calibrator(bitWidths: [2], threads: 1).calibrate(network).archive()
    let energies = try #require(archive.tensors["a.input/row_histogram"]).doubleValues()
    archive.tensors["a.input/row_histogram"] = try .reals(energies.map { $0 * 1.02 }, [2048])
    let broken = archive
    let error = #expect(throws: ModelError.self) { try Calibration(broken) }
    #expect("\(try #require(error))".contains("squares of all values"))
    archive.tensors["a.input/row_histogram"] = try .reals(energies.map { $0 * 1.005 }, [2048])
    _ = try Calibration(archive)
  }

  @Test func rowsOfRowlessSitesAreRefused() throws {
    let network = LinearNetwork(sampleCount: 3)
    var calibration = try Calibrator(bitWidths: [2], scaling: .row, threads: 1).calibrate(network)
    let input = try #require(calibration.sites["a.input"])
    calibration.sites["a.query"] = input
    let archive = try LinearNetwork.archive()
    let error = ModelError(
      "the bounds of a query cannot be relative to rows",
      tensor: "a.query")
    #expect(throws: error) { try calibration.check(against: archive) }
    calibration.sites["a.query"]?.rows = nil
    #expect(throws: error) { try calibration.check(against: archive) }
    calibration.sites["a.query"]?.quantized = [:]
    try calibration.check(against: archive)
  }

  @Test func requestedScalingNeedsRecordedRows() throws {
    var calibration = try Calibrator(bitWidths: [2], scaling: .row, threads: 1).calibrate(
      LinearNetwork(sampleCount: 3))
    let archive = try LinearNetwork.archive()
    #expect(calibration.sitesWithoutRows.isEmpty)
    #expect(calibration.sitesMeasured(otherThan: .row).isEmpty)
    #expect(calibration.sitesMeasured(otherThan: .tensor).contains("a.input"))
    calibration.sites["a.input"]?.rows = nil
    #expect(calibration.sitesWithoutRows == ["a.input"])
    #expect(calibration.sitesWithoutRows(for: .row) == ["a.input"])
    #expect(Set(calibration.sitesWithoutRows(for: .group(4))) == ["a.input", "b.input"])
    #expect(calibration.sitesWithoutRows(for: .tensor).isEmpty)
    let recipe = Recipe(name: "test", rules: [])
    let plan = try QuantizationPlan(archive, recipe: recipe)
    for scaling in [nil, .tensor] as [ActivationScaling?] {
      _ = try ModelQuantizer(
        archive, plan: plan, settings: MethodSettings(.best, activationScaling: scaling),
        calibration: calibration)
    }
    #expect(
      throws: ModelError(
        "bounds relative to rows need a 'row_histogram' of them",
        tensor: "a.input")
    ) {
      try ModelQuantizer(
        archive, plan: plan, settings: MethodSettings(.best, activationScaling: .row),
        calibration: calibration)
    }
    #expect(
      throws: ModelError(
        "bounds relative to groups of 4 need a 'row_histogram' of them",
        tensor: "a.input")
    ) {
      try ModelQuantizer(
        archive, plan: plan, settings: MethodSettings(.best, activationScaling: .group(4)),
        calibration: calibration)
    }
  }

  @Test func calibrationOfOtherModelIsRefused() throws {
    let calibration = try Calibrator(threads: 1).calibrate(LinearNetwork(sampleCount: 1))
    let archive = try LinearNetwork.archive()
    try calibration.check(against: archive)
    func refusal(_ site: String, _ reason: String) -> ModelError {
      ModelError(reason, tensor: site)
    }
    var other = archive
    other.tensors["b.weight"] = nil
    other.tensors["b.bias"] = nil
    let without = other
    #expect(
      throws: refusal(
        "b.input", "the model has no module 'b'; was another model calibrated?")
    ) { try calibration.check(against: without) }
    other.tensors["b.bias"] = archive.tensors["b.bias"]
    let biasOnly = other
    #expect(throws: refusal("b.input", "the model has no weight 'b.weight'")) {
      try calibration.check(against: biasOnly)
    }
    other.tensors["b.weight"] = archive.tensors["a.weight"]
    let wide = other
    #expect(
      throws: refusal("b.input", "'b.weight' has 6 columns, but the calibrated inputs have 4")
    ) { try calibration.check(against: wide) }
    var strange = calibration
    strange.sites["a.output"] = strange.sites["a.input"]
    let named = strange
    #expect(
      throws: refusal(
        "a.output", "a site's name ends in one of input, query, key, value, probabilities")
    ) { try named.check(against: archive) }
  }
}
