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

/// Lists the tensors of a graph that are not the model's initializers: those in the attributes of
/// its nodes, and all of the graphs inside these, such as the branches of an `If`.
struct ONNXNodeTensors {
  /// Graphs nested beyond this depth are not searched.
  static let depthLimit = 32
  /// The most tensors listed; no real model has as many.
  static let countLimit = 100_000

  private let file: InputFile
  /// The listed tensors, in the order of the file.
  private(set) var entries: [UnreadEntry] = []
  /// The number of tensors, listed or not.
  private(set) var count = 0

  init(file: InputFile) { self.file = file }

  /// Adds the tensors in a node's attributes.
  ///
  /// - Parameter place: the enclosing graphs.
  /// - Throws: `ModelError` if the range is not protobuf.
  mutating func add(node range: Range<Int>, place: Place = Place()) throws {
    var (name, type, output) = ("", "", "")
    var attributes: [Range<Int>] = []
    var reader = ONNXFieldReader(file: file)
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      switch field.number {
      case 2 where output.isEmpty: output = (try? reader.text(field)) ?? ""
      case 3: name = (try? reader.text(field)) ?? ""
      case 4: type = (try? reader.text(field)) ?? ""
      case 5: if let attribute = field.delimitedRange { attributes.append(attribute) }
      default: break
      }
    }
    let node = Node(name: name.isEmpty ? output : name, type: type)
    for attribute in attributes { try add(attribute: attribute, of: node, place: place) }
  }

  /// The location of a node, as a prefix of entries' names and in words.
  struct Place {
    var prefix = ""
    var words = ""
    var depth = 0
  }

  private struct Node {
    let name: String
    let type: String
  }

  private mutating func add(attribute range: Range<Int>, of node: Node, place: Place) throws {
    var name = ""
    var tensors: [(range: Range<Int>, isSparse: Bool)] = []
    var graphs: [Range<Int>] = []
    var reader = ONNXFieldReader(file: file)
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      guard let content = field.delimitedRange else { continue }
      switch field.number {
      case 1: name = (try? reader.text(field)) ?? ""
      case 5, 10: tensors.append((content, false))
      case 22, 23: tensors.append((content, true))
      case 6, 11: graphs.append(content)
      default: break
      }
    }
    let full = ArchiveStructure.join(place.prefix, ArchiveStructure.join(node.name, name))
    for (index, tensor) in tensors.enumerated() {
      list(
        tensor.range, as: tensors.count == 1 ? full : "\(full).\(index)",
        isSparse: tensor.isSparse,
        because: "it is the attribute '\(name)' of a node \(node.type)\(place.words)")
    }
    for (index, graph) in graphs.enumerated() {
      try add(
        graph: graph,
        place: Place(
          prefix: graphs.count == 1 ? full : "\(full).\(index)",
          words: " in '\(name)' of a node \(node.type)", depth: place.depth + 1))
    }
  }

  private mutating func add(graph range: Range<Int>, place: Place) throws {
    guard place.depth <= Self.depthLimit else { return }
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      guard let content = field.delimitedRange else { continue }
      switch field.number {
      case 1: try add(node: content, place: place)
      case 5, 15:
        list(
          content, as: place.prefix, isSparse: field.number == 15, isInitializer: true,
          because: "it is an initializer\(place.words)")
      default: break
      }
    }
  }

  private mutating func list(
    _ range: Range<Int>, as name: String, isSparse: Bool, isInitializer: Bool = false,
    because reason: String
  ) {
    count += 1
    guard entries.count < Self.countLimit else { return }
    let tensor = isSparse ? nil : try? ONNXTensorDescription(reading: file, range: range)
    let kind =
      tensor.map { "\($0.type.elementType?.rawValue ?? $0.type.name) \($0.shape)" }
      ?? (isSparse ? "sparse tensor" : "tensor")
    entries.append(
      UnreadEntry(
        name: isInitializer ? ArchiveStructure.join(name, tensor?.name ?? "") : name, kind: kind,
        reason: "\(reason), and only the model's own initializers are read"))
  }
}
