import Formats
import LinearAlgebra

/// One tensor to be inspected: what it will cost, and its reports.
struct LayerInspection: Sendable {
  let name: String
  let tensor: Tensor
  /// Labels of the equal parts that the rows are split in; one unlabelled part otherwise.
  let parts: [String?]
  let includesSingularValues: Bool

  init(name: String, tensor: Tensor, splitsFusedQKV: Bool, includesSingularValues: Bool) {
    self.name = name
    self.tensor = tensor
    self.includesSingularValues = includesSingularValues
    let isSplit =
      splitsFusedQKV && Self.isFusedQKV(name)
      && tensor.shape.matrix.map { $0.rows.isMultiple(of: 3) } == true
    parts = isSplit ? ["q", "k", "v"] : [nil]
  }

  /// Names that attention layers give a weight of q, k and v stacked along the output axis.
  private static func isFusedQKV(_ name: String) -> Bool {
    name == "qkv.weight" || name.hasSuffix(".qkv.weight") || name.hasSuffix("in_proj_weight")
  }

  /// Proportional to the time that the spectra take.
  var cost: Double {
    guard obstacle == nil, let (rows, columns) = tensor.shape.matrix else { return 0 }
    let partRows = Double(rows / parts.count)
    return Double(parts.count) * partRows * Double(columns) * min(partRows, Double(columns))
  }

  /// - Throws: `FormatError` when the tensor's bytes cannot be read.
  func reports() throws -> [LayerReport] {
    var reports = parts.map(emptyReport)
    if let obstacle {
      for index in reports.indices { reports[index].note = obstacle }
      return reports
    }
    guard let (rows, columns) = tensor.shape.matrix else { return reports }
    let matrix = Matrix(
      rows: rows, columns: columns,
      values: try locatingErrors(tensor: name) { try tensor.doubleValues() })
    let partRows = rows / parts.count
    for index in reports.indices {
      let part =
        parts.count == 1 ? matrix : matrix.rows(index * partRows..<(index + 1) * partRows)
      do {
        reports[index].set(
          try Spectrum(of: part), includesSingularValues: includesSingularValues)
      } catch let error as LAPACKError {
        reports[index].note = "no singular values: \(error)"
      }
    }
    return reports
  }

  /// Why the tensor has no singular values, known without its elements.
  private var obstacle: String? {
    if let type = tensor.unreadableType {
      return "no singular values: elements of type \(type) cannot be read"
    }
    if !tensor.elementType.isFloatingPoint {
      return "no singular values: \(tensor.elementType) is not a floating-point type"
    }
    if tensor.shape.elementCount == 0 { return "no singular values: no elements" }
    switch tensor.shape.rank {
    case 0: return "no singular values: a scalar"
    case 1: return "no singular values: a vector"
    default: return nil
    }
  }

  private func emptyReport(part: String?) -> LayerReport {
    var matrix = tensor.shape.matrix.map { [$0.rows / parts.count, $0.columns] }
    if !tensor.elementType.isFloatingPoint { matrix = nil }
    return LayerReport(
      name: name, part: part, elementType: tensor.elementType.rawValue,
      shape: tensor.shape.dimensions, matrix: matrix,
      elementCount: tensor.shape.elementCount / parts.count,
      byteCount: tensor.byteCount / parts.count)
  }
}
