import Formats
import LinearAlgebra

/// One tensor to be inspected: what it will cost, and its reports.
struct LayerInspection: Sendable {
  let name: String
  /// The tensor's place in the file.
  let position: Int
  let tensor: Tensor
  /// Labels of the equal parts that the rows are split in; one unlabelled part otherwise.
  let parts: [String?]
  let options: ModelReport.Options

  init(name: String, position: Int, tensor: Tensor, options: ModelReport.Options) {
    self.name = name
    self.position = position
    self.tensor = tensor
    self.options = options
    let isSplit =
      options.splitsFusedQKV && Self.isFusedQKV(name)
      && tensor.shape.matrix.map { $0.rows.isMultiple(of: 3) } == true
    parts = isSplit ? ["q", "k", "v"] : [nil]
  }

  /// Names that attention layers give a weight of q, k and v stacked along the output axis.
  private static func isFusedQKV(_ name: String) -> Bool {
    name == "qkv.weight" || name.hasSuffix(".qkv.weight") || name.hasSuffix("in_proj_weight")
  }

  /// The grid on which the tensor is seen as a convolution; `nil` when it is seen as a matrix.
  private var grid: ConvolutionOperator.Grid? {
    tensor.shape.rank == 4 ? options.convolutionGrid : nil
  }

  /// Proportional to the time that the spectra take.
  var cost: Double {
    guard obstacle == nil, let (rows, columns) = tensor.shape.matrix else { return 0 }
    if let grid {
      let channels = tensor.shape.dimensions.prefix(2).map(Double.init)
      // Half of the frequencies, each a real matrix of twice the size.
      return 4 * Double(grid.width * grid.height) * channels[0] * channels[1]
        * (channels.min() ?? 1)
    }
    let partRows = Double(rows / parts.count)
    return Double(parts.count) * partRows * Double(columns) * min(partRows, Double(columns))
  }

  /// - Throws: `FormatError` when the tensor's bytes cannot be read.
  func reports() throws -> [LayerReport] {
    var reports = parts.map(emptyReport)
    if let obstacle {
      for index in reports.indices { reports[index].note = "no singular values: \(obstacle)" }
      guard isReadable, !options.onlyExtremes else { return reports }
    }
    if options.onlyExtremes, grid == nil, tensor.elementType != .float64 {
      try setExtremes(&reports)
    } else {
      try setSpectra(&reports)
    }
    return reports
  }

  private func setSpectra(_ reports: inout [LayerReport]) throws {
    let values = try locatingErrors(tensor: name) { try tensor.doubleValues() }
    let rows = tensor.shape.matrix?.rows ?? 0
    let partCount = values.count / parts.count
    for index in reports.indices {
      let part =
        parts.count == 1 ? values : Array(values[index * partCount..<(index + 1) * partCount])
      if !options.onlyExtremes {
        reports[index].statistics = ElementStatistics(of: part, rows: rows / parts.count)
      }
      guard obstacle == nil else { continue }
      do {
        let spectrum = try spectrum(of: part, rows: rows / parts.count)
        if options.onlyExtremes {
          reports[index].set(
            ExtremeSingularValues(of: spectrum.singularValues),
            frobeniusNorm: spectrum.frobeniusNorm)
        } else {
          reports[index].set(
            spectrum, includesSingularValues: options.includesSingularValues)
        }
      } catch let error as LAPACKError {
        reports[index].note = "no singular values: \(error)"
      }
    }
  }

  private func spectrum(of values: [Double], rows: Int) throws -> Spectrum {
    guard let grid else {
      return try Spectrum(
        of: Matrix(rows: rows, columns: values.count / rows, values: values))
    }
    let dimensions = tensor.shape.dimensions
    let convolution = ConvolutionOperator(
      outputs: rows, inputs: dimensions[1], kernelHeight: dimensions[2],
      kernelWidth: dimensions[3], weights: values)
    let places = grid.width * grid.height
    return Spectrum(
      singularValues: try convolution.singularValues(on: grid), rows: rows * places,
      columns: dimensions[1] * places)
  }

  private func setExtremes(_ reports: inout [LayerReport]) throws {
    let values = try locatingErrors(tensor: name) { try tensor.floatValues() }
    let partCount = values.count / parts.count
    guard let rows = tensor.shape.matrix?.rows else { return }
    for index in reports.indices {
      let part =
        parts.count == 1 ? values : Array(values[index * partCount..<(index + 1) * partCount])
      do {
        let partRows = rows / parts.count
        let extremes = try ExtremeSingularValues(
          rows: partRows, columns: partCount / partRows, values: part)
        let square = part.reduce(0.0) { $0 + Double($1) * Double($1) }
        reports[index].set(extremes, frobeniusNorm: square.squareRoot())
      } catch let error as LAPACKError {
        reports[index].note = "no singular values: \(error)"
      }
    }
  }

  /// Whether the elements are numbers that statistics can be made of.
  private var isReadable: Bool {
    tensor.unreadableType == nil && tensor.elementType.isFloatingPoint
      && tensor.shape.elementCount > 0 && memoryNeeded <= options.memoryLimit
  }

  /// Why the tensor has no singular values, known without its elements.
  private var obstacle: String? {
    if let type = tensor.unreadableType { return "elements of type \(type) cannot be read" }
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
      return "they would take \(ReportNumber.bytes(memoryNeeded)) of memory, and "
        + "\(ReportNumber.bytes(options.memoryLimit)) may be used"
    }
    return nil
  }

  /// Bytes at the peak: the elements in double precision, twice, and the Gram matrix or the grid's
  /// singular values. `Int.max` when that overflows.
  private var memoryNeeded: Int {
    let (rows, columns) = tensor.shape.matrix ?? (1, tensor.shape.elementCount)
    let smaller = Double(min(rows, columns))
    let rest =
      grid.map { Double($0.width * $0.height) * smaller * 2 } ?? (smaller * smaller)
    let bytes = 8 * (2 * Double(rows) * Double(columns) + (tensor.shape.rank < 2 ? 0 : rest))
    return bytes < 0x1p62 ? Int(bytes) : .max
  }

  private func emptyReport(part: String?) -> LayerReport {
    var matrix = tensor.shape.matrix.map { [$0.rows / parts.count, $0.columns] }
    if !tensor.elementType.isFloatingPoint { matrix = nil }
    var report = LayerReport(
      name: name, position: position, part: part, elementType: tensor.elementType.rawValue,
      shape: tensor.shape.dimensions, matrix: matrix,
      elementCount: tensor.shape.elementCount / parts.count,
      byteCount: tensor.byteCount / parts.count)
    if let grid, obstacle == nil { report.view = "circular convolution on \(grid)" }
    return report
  }
}
