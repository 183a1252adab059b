import Formats
import LinearAlgebra
import OrderedCollections
import Storage

/// A model with the differences of a LoRA adapter added to its weights.
///
/// Weights are merged when they are loaded, one at a time: `w + scale · up · down`, in double
/// precision, rounded to Float32 and then to the weight's type.
///
/// ```swift
/// let base = try FormatRegistry.standard.open("base.safetensors")
/// let adapter = try FormatRegistry.standard.open("adapter_model.safetensors")
/// let merged = try LowRankMerge(base, adapter)
/// try FormatRegistry.standard.write(
///   merged.archive, as: SafetensorsFormat(), to: "merged.safetensors")
/// ```
public struct LowRankMerge: Sendable {
  /// The base with merged weights in place of its own.
  public let archive: TensorArchive
  /// The merged weights, with the factors that were added to each.
  package let pairs: OrderedDictionary<String, LowRankPair>

  /// Elements of a product that are computed at once.
  private static let elementCountAtOnce = 1 << 20

  /// Plans the merge, reading no weight.
  ///
  /// - Throws: `ModelError` that names the first tensor of the adapter that cannot be merged, or the
  ///   first weight that the base lacks or that has another shape.
  public init(_ base: TensorArchive, _ adapter: TensorArchive) throws {
    let factors = try LowRankAdapter(besideConfigurationOf: adapter)
    if let obstacle = factors.obstacles.first {
      throw ModelError.unsupported(
        "it cannot be merged: \(obstacle.reason)", path: adapter.sourceFiles.first,
        tensor: obstacle.name)
    }
    guard !factors.pairs.isEmpty else {
      throw ModelError.mismatch(
        expected: "factors of LoRA", found: counted(adapter.tensors.count, "other tensor"),
        path: adapter.sourceFiles.first)
    }
    let names = LowRankAdapter.BaseNames(base)
    var merged = base
    var pairs: OrderedDictionary<String, LowRankPair> = [:]
    for pair in factors.pairs {
      let name = try names.target(of: pair)
      guard let tensor = merged.tensors[name], pairs.updateValue(pair, forKey: name) == nil else {
        throw ModelError.malformed("two pairs of factors are for this weight", tensor: name)
      }
      merged.tensors[name] = try Tensor(elementType: tensor.elementType, shape: tensor.shape) {
        try locatingErrors(tensor: name) { try Self.sum(of: tensor, and: pair) }
      }
    }
    merged.sourceFiles = base.sourceFiles + adapter.sourceFiles
    merged.fileOfTensor = [:]
    archive = merged
    self.pairs = pairs
  }

  private static func sum(of tensor: Tensor, and pair: LowRankPair) throws -> SharedBytes {
    let up = try pair.up.doubleValues()
    let down = try pair.down.doubleValues()
    let rank = pair.rank
    let (outputs, inputs) = (up.count / rank, down.count / rank)
    // The product of rows of `left` and `right` is that of rows of the weight.
    var left = Matrix(rows: outputs, columns: rank, values: up)
    var right = Matrix(rows: rank, columns: inputs, values: down)
    if pair.isTransposed { (left, right) = (right.transposed, left.transposed) }
    var values = try tensor.doubleValues()
    let height = max(1, elementCountAtOnce / max(1, right.columns))
    for first in stride(from: 0, to: left.rows, by: height) {
      let rows = first..<min(first + height, left.rows)
      let product = left.rows(rows).multiplied(by: right)
      let start = first * right.columns
      for (index, value) in product.values.enumerated() {
        values[start + index] += pair.scale * value
      }
    }
    return tensor.elementType == .float64
      ? SharedBytes(elementsOf: values)
      : SharedBytes(values.map { Float($0) }, roundedTo: tensor.elementType)
  }

  /// Returns how far a merged weight of another program may be from ours, by its name: a few
  /// roundings of the largest magnitude of the weight or the difference.
  package func roundings() throws -> [String: Double] {
    func magnitude(_ tensor: Tensor) throws -> Float {
      try tensor.floatValues().reduce(0) { max($0, abs($1)) }
    }
    return try pairs.reduce(into: [:]) { roundings, pair in
      guard let tensor = archive.tensors[pair.key] else { return }
      let merged = try magnitude(tensor)
      let difference =
        try Float(abs(pair.value.scale)) * magnitude(pair.value.up)
        * magnitude(pair.value.down)
      let unit: Double =
        switch tensor.elementType {
        case .float16: 0x1p-11
        case .bfloat16: 0x1p-8
        // Float64 as well: other programs may add in Float32.
        default: 0x1p-24
        }
      roundings[pair.key] = 4 * unit * Double(max(merged, difference))
    }
  }
}
