import Formats
import LinearAlgebra
import Reports
import Storage
import Transform

/// One tensor to be inspected, with its estimated cost and its reports.
struct LayerInspection: Sendable {
  let name: String
  /// The tensor's position in the file.
  let position: Int
  let tensor: Tensor
  /// The arrangement of q, k and v in a fused matrix; `nil` for a single matrix.
  private let fusion: FusedProjection?
  let options: ModelReport.Options
  /// The tensors this one was assembled from.
  private let composition: String?
  /// The reason the elements are codes without numerical meaning; `nil` for numbers.
  private let codeObstacle: String?
  /// The factors whose product is inspected; `nil` for tensors.
  private let product: LowRankPair?
  /// The same tensor of the reference.
  private let counterpart: Tensor?
  /// The number of groups of a convolution; `nil` if the tensor is treated as a matrix.
  let convolution: ConvolutionGroups.Decision?

  init(
    name: String, position: Int, tensor: Tensor, options: ModelReport.Options,
    composition: String? = nil, codeObstacle: String? = nil,
    convolution: ConvolutionGroups.Decision? = nil, counterpart: Tensor? = nil
  ) {
    self.counterpart = counterpart
    self.name = name
    self.position = position
    self.tensor = tensor
    self.options = options
    self.composition = composition
    self.codeObstacle = codeObstacle
    self.convolution = convolution
    product = nil
    fusion =
      options.splitsFusedQKV && (tensor.shape.rank < 4 || options.convolutionGrid == nil)
      ? tensor.shape.matrix.flatMap {
        FusedProjection(name: name, rows: $0.rows, columns: $0.columns)
      } : nil
  }

  /// Creates the inspection of the product of LoRA factors, which no file holds.
  ///
  /// - Throws: `ModelError` if the shape is invalid.
  init(product: LowRankPair, position: Int, options: ModelReport.Options) throws {
    self.product = product
    counterpart = nil
    name = product.module
    self.position = position
    tensor = try Tensor(elementType: product.up.elementType, shape: product.shape) {
      throw ModelError.unsupported("the product is not formed", tensor: product.module)
    }
    self.options = options
    composition =
      "product of LoRA factors of rank \(product.rank), times \(ReportNumber.real(product.scale))"
    codeObstacle = nil
    convolution = nil
    fusion = nil
  }

  /// The labels of the matrix's parts, or one unlabelled part.
  var parts: [String?] { fusion == nil ? [nil] : FusedProjection.labels }

  /// The rows and columns of each part; `nil` if the tensor is not a matrix.
  private var partShape: (rows: Int, columns: Int)? {
    guard let (rows, columns) = tensor.shape.matrix else { return nil }
    return fusion?.partShape(rows: rows, columns: columns) ?? (rows, columns)
  }

  /// The grid on which the tensor is treated as a convolution; `nil` if it is treated as a matrix.
  private var grid: ConvolutionOperator.Grid? {
    tensor.shape.rank == 4 ? options.convolutionGrid : nil
  }

  /// An estimate proportional to the time that the spectra take.
  var cost: Double {
    guard obstacle == nil, let (rows, columns) = partShape else { return 0 }
    if let product {
      return Double(rows + columns) * Double(product.rank) * Double(product.rank)
    }
    if let grid {
      let channels = tensor.shape.dimensions.prefix(2).map(Double.init)
      let groups = Double(convolution?.count ?? 1)
      // Half of the frequencies, each a real matrix of twice the size.
      return 4 * Double(grid.width * grid.height) * channels[0] * channels[1]
        * min(channels[0] / groups, channels[1])
    }
    return Double(parts.count * rows) * Double(columns) * Double(min(rows, columns))
  }

  /// Returns the reports of all parts.
  ///
  /// - Throws: `ModelError` if the tensor's bytes cannot be read.
  func reports() throws -> [LayerReport] {
    if let product { return [try report(of: product)] }
    var reports = parts.map(emptyReport)
    if let obstacle {
      for index in reports.indices { reports[index].note = "no singular values: \(obstacle)" }
      guard isReadable, !options.onlyExtremes else { return reports }
    }
    try setNumbers(&reports)
    return reports
  }

  private func report(of product: LowRankPair) throws -> LayerReport {
    var report = emptyReport(part: nil)
    report.byteCount = 0
    do {
      let spectrum = try locatingErrors(tensor: name) { try product.spectrum() }
      if options.onlyExtremes {
        report.set(
          ExtremeSingularValues(of: spectrum.singularValues), frobeniusNorm: spectrum.frobeniusNorm)
      } else {
        report.set(spectrum, includesSingularValues: options.includesSingularValues)
      }
    } catch let error as LAPACKError {
      report.note = "no singular values: \(error)"
    }
    return report
  }

  private func setNumbers(_ reports: inout [LayerReport]) throws {
    let values = try locatingErrors(tensor: name) { try tensor.doubleValues() }
    let references = try counterpart.map { counterpart in
      try locatingErrors(tensor: name) { try counterpart.doubleValues() }
    }
    let rows = partShape?.rows ?? 0
    for index in reports.indices {
      let part = part(index, of: values)
      if !options.onlyExtremes {
        reports[index].statistics = ElementStatistics(of: part, rows: rows)
      }
      if let references {
        reports[index].referenceSQNR = Self.decibels(of: part, to: self.part(index, of: references))
      }
      guard obstacle == nil else { continue }
      do {
        try setSpectrum(&reports[index], of: part, rows: rows)
        setChannels(&reports[index], of: part, rows: rows)
      } catch let error as LAPACKError {
        reports[index].note = "no singular values: \(error)"
      }
    }
  }

  /// Sets what depends on the channels of a matrix of finite elements.
  private func setChannels(_ report: inout LayerReport, of values: [Double], rows: Int) {
    guard !options.onlyExtremes || options.calibration != nil else { return }
    let energies = values.withUnsafeBufferPointer {
      ElementStatistics.rowEnergies(of: $0, rows: rows)
    }
    let outliers = OutlierChannel.find(meanSquares: energies)
    if !outliers.isEmpty {
      report.outlierOutputs = Array(outliers.prefix(OutlierChannel.mostListed))
      report.outlierOutputCount = outliers.count
    }
    // Weights that are stored as [inputs, outputs] have no calibrated form.
    guard fusion != .columns, let site = options.calibration?.input(ofWeight: name) else { return }
    report.outputOutlook = OutputOutlook(
      of: Matrix(rows: rows, columns: values.count / rows, values: values), inputs: site)
  }

  /// Returns the ratio of the reference's energy to that of the difference; `nil` if it is not a
  /// number.
  private static func decibels(of values: [Double], to reference: [Double]) -> Double? {
    var (signal, noise) = (0.0, 0.0)
    for (value, original) in zip(values, reference) {
      signal += original * original
      noise += (value - original) * (value - original)
    }
    guard signal.isFinite, noise.isFinite, signal > 0 || noise == 0 else { return nil }
    return RoundingCost.decibels(signal: signal, noise: noise)
  }

  private func part(_ index: Int, of values: [Double]) -> [Double] {
    guard let fusion, let (rows, columns) = tensor.shape.matrix else { return values }
    return fusion.part(index, of: values, rows: rows, columns: columns)
  }

  private func setSpectrum(_ report: inout LayerReport, of values: [Double], rows: Int) throws {
    if options.onlyExtremes, grid == nil {
      let matrix = Matrix(rows: rows, columns: values.count / rows, values: values)
      report.set(
        try ExtremeSingularValues(of: matrix), frobeniusNorm: Self.frobeniusNorm(of: values))
      return
    }
    let spectrum = try spectrum(of: values, rows: rows)
    if options.onlyExtremes {
      report.set(
        ExtremeSingularValues(of: spectrum.singularValues), frobeniusNorm: spectrum.frobeniusNorm)
    } else {
      report.set(spectrum, includesSingularValues: options.includesSingularValues)
    }
  }

  private func spectrum(of values: [Double], rows: Int) throws -> Spectrum {
    guard let grid else {
      return try Spectrum(
        of: Matrix(rows: rows, columns: values.count / rows, values: values))
    }
    let dimensions = tensor.shape.dimensions
    let groups = convolution?.count ?? 1
    let convolution = ConvolutionOperator(
      outputs: rows, inputs: dimensions[1], kernelHeight: dimensions[2],
      kernelWidth: dimensions[3], groups: groups, weights: values)
    let places = grid.width * grid.height
    return Spectrum(
      singularValues: try convolution.singularValues(on: grid), rows: rows * places,
      columns: dimensions[1] * groups * places)
  }

  /// Returns √Σx² of finite values, scaled by a power of two to prevent overflow and underflow of
  /// squares.
  private static func frobeniusNorm(of values: [Double]) -> Double {
    values.withUnsafeBufferPointer { values in
      guard let largest = FiniteRange(of: values)?.magnitude, largest > 0 else { return 0 }
      let exponent = max(-1000, Int(largest.exponent))
      let factor = Double(sign: .plus, exponent: -exponent, significand: 1)
      let sum = laneSum(values) { ($0 * factor) * ($0 * factor) }
      return Double(sign: .plus, exponent: exponent, significand: sum.squareRoot())
    }
  }

  /// Whether the elements are numbers suitable for statistics.
  private var isReadable: Bool {
    tensor.unreadableType == nil && codeObstacle == nil && tensor.elementType.isFloatingPoint
      && tensor.shape.elementCount > 0 && memoryNeeded <= options.memoryLimit
  }

  /// The reason the tensor has no singular values, as far as it is known without the elements.
  private var obstacle: String? {
    if let reason = tensor.unreadableReason { return reason }
    if let codeObstacle { return codeObstacle }
    if !tensor.elementType.isFloatingPoint {
      return "\(tensor.elementType) is not a floating-point type"
    }
    if tensor.shape.elementCount == 0 { return "no elements" }
    switch tensor.shape.rank {
    case 0: return "a scalar"
    case 1: return "a vector"
    default: break
    }
    guard memoryNeeded <= options.memoryLimit else {
      return "they would take \(ReportNumber.bytes(memoryNeeded)) of memory, but only "
        + "\(ReportNumber.bytes(options.memoryLimit)) may be used"
    }
    return nil
  }

  /// The peak memory in bytes: the elements in double precision, twice, and the Gram matrix or the
  /// grid's singular values. `Int.max` on overflow.
  private var memoryNeeded: Int {
    let (rows, columns) = tensor.shape.matrix ?? (1, tensor.shape.elementCount)
    if let product {
      let count = 3 * Double(rows + columns) * Double(product.rank)
      return count < 0x1p58 ? 8 * Int(count) : .max
    }
    let smaller = Double(min(rows, columns))
    let groups = Double(convolution?.count ?? 1)
    let rest =
      grid.map {
        Double($0.width * $0.height) * 2
          * min(Double(rows), Double(tensor.shape.dimensions[1]) * groups)
      } ?? (smaller * smaller)
    let bytes = 8 * (2 * Double(rows) * Double(columns) + (tensor.shape.rank < 2 ? 0 : rest))
    return bytes < 0x1p62 ? Int(bytes) : .max
  }

  private func emptyReport(part: String?) -> LayerReport {
    var matrix = partShape.map { [$0.rows, $0.columns] }
    if !tensor.elementType.isFloatingPoint { matrix = nil }
    var report = LayerReport(
      name: name, position: position, part: part, elementType: tensor.elementType.rawValue,
      shape: tensor.shape.dimensions, matrix: matrix,
      elementCount: tensor.shape.elementCount / parts.count,
      byteCount: tensor.byteCount / parts.count)
    report.composition = composition
    if let grid, obstacle == nil {
      report.view =
        "circular convolution on \(grid)" + (convolution?.remark.map { ", \($0)" } ?? "")
    }
    if options.splitsFusedQKV, fusion == nil, grid == nil, obstacle == nil,
      FusedProjection.isNamed(name)
    {
      report.view = "q, k and v together: \(matrix?.first ?? 0) rows are not three equal parts"
    }
    return report
  }
}
