/// A `TensorProto` without its data, and where the data is.
struct ONNXTensorDescription: Sendable {
  /// Where the data is said to be.
  enum Place: Hashable, Sendable {
    /// `raw_data`, at this range of the model's file.
    case raw(Range<Int>)
    /// In this field, which is looked up again when the tensor is loaded.
    case typed(ONNXTypedField)
    case external(ONNXExternalData)
    /// Nowhere: the tensor has no elements.
    case none
  }

  /// More axes than anything has.
  static let rankLimit = 64

  /// The message, in the file.
  let range: Range<Int>
  let name: String
  let type: ONNXDataType
  let shape: Shape
  let place: Place

  /// - Throws: `FormatError` for what ONNX does not allow, or data whose place is not clear.
  init(reading file: InputFile, range: Range<Int>) throws {
    var header = ONNXTensorHeader()
    var reader = ONNXFieldReader(file: file)
    var raw: Range<Int>?
    var typed: Set<ONNXTypedField> = []
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      if field.number == 9 {
        guard raw == nil else {
          throw FormatError.malformed("raw_data occurs twice", offset: field.range.lowerBound)
        }
        raw = try field.requireDelimited("raw_data")
      } else if let data = ONNXTypedField(rawValue: field.number) {
        // An empty packed field is no data.
        if field.delimitedRange?.isEmpty != true { typed.insert(data) }
      } else {
        try header.take(field, from: &reader)
      }
    }
    self.range = range
    name = header.name
    type = ONNXDataType(number: header.dataType)
    (shape, place) = try locatingErrors(tensor: header.name) {
      (try Self.shape(header.dims), try Self.place(header, raw: raw, typed: typed))
    }
  }

  /// The type's name where the tensor can only be listed.
  var unreadableType: String? {
    guard let elementType = type.elementType else { return type.name }
    // Elements narrower than a byte are readable where they fill whole bytes.
    let isWhole = elementType.byteCount(forElements: shape.elementCount) != nil
    return isWhole || elementType.bitWidth >= 8 ? nil : type.name
  }

  /// - Throws: `FormatError` when the data cannot be as long as the shape needs.
  func tensor(in data: ONNXTensorData) throws -> Tensor {
    guard unreadableType == nil, let elementType = type.elementType else {
      var tensor = try Tensor(
        unreadableType: unreadableType ?? type.name, as: .bits8, shape: shape,
        path: data.file.path, name: name)
      tensor.storedBytes = {
        try locatingErrors(path: data.file.path, tensor: name) { try data.storedBytes(of: self) }
      }
      return tensor
    }
    let tensor = try Tensor(elementType: elementType, shape: shape) {
      try locatingErrors(path: data.file.path, tensor: name) {
        try data.bytes(of: self, as: elementType)
      }
    }
    try data.check(self, byteCount: tensor.byteCount, elementType)
    return tensor
  }

  private static func shape(_ dims: [Int]) throws -> Shape {
    guard dims.count <= rankLimit else {
      throw FormatError(
        .limitExceeded(what: "the axes of a tensor", limit: rankLimit, found: "\(dims.count)"))
    }
    guard let shape = Shape(dims) else {
      throw FormatError.malformed(
        "the dimensions \(dims) are negative or have more than 2^63 elements")
    }
    return shape
  }

  private static func place(
    _ header: ONNXTensorHeader, raw: Range<Int>?, typed: Set<ONNXTypedField>
  ) throws -> Place {
    guard !header.hasSegment else {
      throw FormatError.unsupported("tensors in segments are not supported")
    }
    guard 0...1 ~= header.dataLocation else {
      throw FormatError.unsupported("the data location \(header.dataLocation) is unknown")
    }
    let isExternal = header.dataLocation == 1
    let count = typed.count + (raw == nil ? 0 : 1)
    if isExternal {
      guard count == 0 else {
        throw FormatError.malformed("external data and data in the file at once")
      }
      return .external(try ONNXExternalData(header.externalData))
    }
    guard count <= 1 else {
      let names = typed.map(\.name).sorted() + (raw == nil ? [] : ["raw_data"])
      throw FormatError.malformed(
        "data in several fields: \(names.joined(separator: ", "))")
    }
    return raw.map { .raw($0) } ?? typed.first.map { .typed($0) } ?? .none
  }
}
