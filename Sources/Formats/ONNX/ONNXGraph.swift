import Storage

/// An ONNX graph under construction: initializers, nodes that compute from them, and outputs.
package struct ONNXGraph: Sendable {
  /// A constant of the graph.
  package struct Initializer: Sendable {
    package let name: String
    let type: DataType
    let dimensions: [Int]
    let byteCount: Int
    /// Loads the elements, little-endian and row-major; types narrower than a byte are packed low
    /// bits first.
    let load: @Sendable () throws -> SharedBytes

    package init(
      _ name: String, _ type: DataType, _ dimensions: [Int], byteCount: Int,
      load: @escaping @Sendable () throws -> SharedBytes
    ) {
      self.name = name
      self.type = type
      self.dimensions = dimensions
      self.byteCount = byteCount
      self.load = load
    }

    /// Creates a small constant from elements in memory.
    package init<Element: BitwiseCopyable & Sendable>(
      _ name: String, _ type: DataType, _ dimensions: [Int], _ elements: [Element]
    ) {
      self.init(
        name, type, dimensions, byteCount: elements.count * MemoryLayout<Element>.size
      ) { SharedBytes(elementsOf: elements) }
    }
  }

  package struct Node: Hashable, Sendable {
    let operation: String
    /// The operator's domain; empty for ONNX's own.
    let domain: String
    let inputs: [String]
    package let output: String
    /// Written in the order of their names.
    let attributes: [String: Attribute]

    package init(
      operation: String, domain: String = "", inputs: [String], output: String,
      attributes: [String: Attribute] = [:]
    ) {
      self.operation = operation
      self.domain = domain
      self.inputs = inputs
      self.output = output
      self.attributes = attributes
    }
  }

  /// The value of a node's attribute.
  package enum Attribute: Hashable, Sendable {
    case integer(Int)
    case integers([Int])
    case float(Float)
    case text(String)
  }

  /// An input or output of the graph.
  package struct Port: Hashable, Sendable {
    package enum Dimension: Hashable, Sendable {
      case count(Int)
      /// Any length, equal to all other dimensions of this name.
      case named(String)
    }

    let name: String
    let type: DataType
    let dimensions: [Dimension]

    package init(name: String, type: DataType, dimensions: [Dimension]) {
      self.name = name
      self.type = type
      self.dimensions = dimensions
    }

    init(name: String, type: DataType, dimensions: [Int]) {
      self.init(name: name, type: type, dimensions: dimensions.map(Dimension.count))
    }
  }

  /// A number of `TensorProto.DataType`.
  package struct DataType: Hashable, Sendable {
    let number: Int

    package static let float = DataType(number: 1)
    static let float16 = DataType(number: 10)
    package static let int64 = DataType(number: 7)
    package static let uint8 = DataType(number: 2)
    static let uint4 = DataType(number: 21)
    static let uint2 = DataType(number: 25)

    private init(number: Int) { self.number = number }

    /// Creates the data type for elements of `type`.
    ///
    /// - Throws: `ModelError` when ONNX has no such type.
    init(_ type: ElementType) throws {
      let numbers: [ElementType: Int] = [
        .float32: 1, .uint8: 2, .int8: 3, .uint16: 4, .int16: 5, .int32: 6, .int64: 7, .bool: 9,
        .float16: 10, .float64: 11, .uint32: 12, .uint64: 13, .complex64: 14, .complex128: 15,
        .bfloat16: 16, .float8E4M3FN: 17, .float8E4M3FNUZ: 18, .float8E5M2: 19,
        .float8E5M2FNUZ: 20, .float4E2M1: 23, .float8E8M0FNU: 24,
      ]
      guard let number = numbers[type] else {
        throw ModelError.unsupported("ONNX has no type for \(type) elements")
      }
      self.number = number
    }
  }

  package var name = "weights"
  package var initializers: [Initializer] = []
  package var nodes: [Node] = []
  package var inputs: [Port] = []
  package var outputs: [Port] = []

  package init() {}
}
