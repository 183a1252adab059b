import Formats
import LinearAlgebra

/// Every tensor, value and text of a model file, one a line: what `git diff` compares when it is told
/// to turn model files into text.
package struct ArchiveListing: Sendable {
  /// Lines without line ends: tensors in the file's order, then values, then metadata.
  package let lines: [String]

  /// - Parameter threads: at least 1; the lines do not depend on it.
  /// - Throws: `FormatError` when a tensor cannot be read.
  package init(_ archive: TensorArchive, threads: Int) throws {
    let tensors = Array(archive.tensors)
    let budget = MemoryBudget(limit: max(1 << 26, tensors.map(\.value.byteCount).max() ?? 0))
    let listed = try parallelMap(count: tensors.count, threads: threads) { index in
      let (name, tensor) = tensors[index]
      let digest = try budget.using(tensor.byteCount) {
        try locatingErrors(tensor: name) { try tensor.comparableBytes().sha256 }
      }
      let shape = ReportShape(tensor.shape.dimensions).forPrograms
      let type = tensor.unreadableType ?? tensor.elementType.rawValue
      return "tensor \(name) \(type) [\(shape)] sha256:\(digest)"
    }
    let values = archive.values.map { "value \($0) = \($1.fullDescription)" }
    let metadata = archive.metadata.map { "metadata \($0) = \($1)" }
    lines = (listed + values + metadata).map(\.escapingControlCharacters)
  }
}
