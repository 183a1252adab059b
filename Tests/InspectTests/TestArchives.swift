import Formats
import OrderedCollections
import Storage

extension Tensor {
  /// Returns a float32 tensor of the given numbers.
  static func float32(_ shape: Shape, _ values: [Float]) throws -> Tensor {
    try Tensor(elementType: .float32, shape: shape, bytes: SharedBytes(elementsOf: values))
  }

  /// Returns a tensor of `elementType` whose elements are those of `values`, bit for bit.
  static func of<Element: BitwiseCopyable>(
    _ elementType: ElementType, _ shape: Shape, _ values: [Element]
  ) throws -> Tensor {
    try Tensor(elementType: elementType, shape: shape, bytes: SharedBytes(elementsOf: values))
  }

  /// Returns a float32 matrix with `diagonal` on its main diagonal and zeros elsewhere.
  static func diagonal(_ diagonal: [Float], rows: Int, columns: Int) throws -> Tensor {
    var values = [Float](repeating: 0, count: rows * columns)
    for (index, value) in diagonal.enumerated() { values[index * columns + index] = value }
    guard let shape = Shape([rows, columns]) else {
      throw ModelError.malformed("not a shape: [\(rows), \(columns)]")
    }
    return try float32(shape, values)
  }
}

extension TensorArchive {
  init(_ tensors: KeyValuePairs<String, Tensor>) {
    self.init(tensors: OrderedDictionary(uniqueKeysWithValues: tensors.map { ($0, $1) }))
  }

  /// A name that an attacker would choose.
  static let hostileName =
    "<img src=x onerror=alert(1)>|`\"a\",\u{1B}[31m\n\u{202E}'&[x](javascript:1)*_"

  /// Returns an archive with one tensor of each kind that a report treats in its own way.
  static func varied() throws -> TensorArchive {
    TensorArchive([
      "layers.0.residual_group.blocks.0.attn.qkv.weight": try .diagonal(
        [8, 4, 2, 1, 16, 2], rows: 6, columns: 6),
      "conv.weight": try .float32([2, 1, 1, 3], [3, 0, 0, 0, 0.25, 0]),
      "singular.weight": try .float32([2, 2], [1, 2, 2, 4]),
      "norm.bias": try .float32([3], [0, 1, 2]),
      "broken.weight": try .float32([2, 2], [1, 2, .nan, 4]),
      "index": try .of(.int64, [2, 2], [0, 1, 2, 3] as [Int64]),
      hostileName: try .of(.float64, [1, 2], [3.0, 4.0]),
    ])
  }
}
