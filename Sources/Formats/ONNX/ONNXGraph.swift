/// An ONNX graph that is being made: initializers, nodes that compute from them, and outputs.
struct ONNXGraph: Sendable {
  /// A constant of the graph.
  struct Initializer: Sendable {
    let name: String
    let type: DataType
    let dimensions: [Int]
    let byteCount: Int
    /// Little-endian, row-major; types narrower than a byte are packed low bits first.
    let load: @Sendable () throws -> SharedBytes

    init(
      _ name: String, _ type: DataType, _ dimensions: [Int], byteCount: Int,
      load: @escaping @Sendable () throws -> SharedBytes
    ) {
      self.name = name
      self.type = type
      self.dimensions = dimensions
      self.byteCount = byteCount
      self.load = load
    }

    /// A small constant that is in memory.
    init<Element: BitwiseCopyable & Sendable>(
      _ name: String, _ type: DataType, _ dimensions: [Int], _ elements: [Element]
    ) {
      self.init(
        name, type, dimensions, byteCount: elements.count * MemoryLayout<Element>.size
      ) { SharedBytes(elementsOf: elements) }
    }
  }

  struct Node: Hashable, Sendable {
    let operation: String
    /// Whose operator it is; empty for ONNX's own.
    var domain = ""
    let inputs: [String]
    let output: String
    /// Integer attributes, written in the order of their names.
    var attributes: [String: Int] = [:]
  }

  /// An input or output of the graph.
  struct Port: Hashable, Sendable {
    enum Dimension: Hashable, Sendable {
      case count(Int)
      /// Any number, the same wherever it has this name.
      case named(String)
    }

    let name: String
    let type: DataType
    let dimensions: [Dimension]

    init(name: String, type: DataType, dimensions: [Dimension]) {
      self.name = name
      self.type = type
      self.dimensions = dimensions
    }

    init(name: String, type: DataType, dimensions: [Int]) {
      self.init(name: name, type: type, dimensions: dimensions.map(Dimension.count))
    }
  }

  /// `TensorProto.DataType`, as a number.
  struct DataType: Hashable, Sendable {
    let number: Int

    static let float = DataType(number: 1)
    static let float16 = DataType(number: 10)
    static let int64 = DataType(number: 7)
    static let uint8 = DataType(number: 2)
    static let uint4 = DataType(number: 21)
    static let uint2 = DataType(number: 25)

    private init(number: Int) { self.number = number }

    /// - Throws: `FormatError` when ONNX has no such type.
    init(_ type: ElementType) throws {
      let numbers: [ElementType: Int] = [
        .float32: 1, .uint8: 2, .int8: 3, .uint16: 4, .int16: 5, .int32: 6, .int64: 7, .bool: 9,
        .float16: 10, .float64: 11, .uint32: 12, .uint64: 13, .complex64: 14, .complex128: 15,
        .bfloat16: 16, .float8E4M3FN: 17, .float8E4M3FNUZ: 18, .float8E5M2: 19,
        .float8E5M2FNUZ: 20, .float4E2M1: 23, .float8E8M0FNU: 24,
      ]
      guard let number = numbers[type] else {
        throw FormatError.unsupported("ONNX has no type for \(type) elements")
      }
      self.number = number
    }
  }

  var initializers: [Initializer] = []
  var nodes: [Node] = []
  var inputs: [Port] = []
  var outputs: [Port] = []
}
