import OrderedCollections
import Storage

/// Locates the tensors of layers in a `.bin` file, whose parts follow one another without names or
/// lengths.
struct NCNNWeightReader {
  private let file: InputFile
  private var offset = 0
  private(set) var tensors: OrderedDictionary<String, Tensor> = [:]
  /// The types of layers of which it is not known whether they have weights.
  private var unknownTypes: OrderedSet<String> = []
  private var codeCount = 0

  init(_ file: InputFile) { self.file = file }

  /// A tensor whose place is known.
  private struct Place {
    let part: NCNNWeights.Part
    let shape: Shape
    let storage: NCNNStorage
    let bytes: Range<Int>
  }

  /// Takes the weights of the next layer.
  ///
  /// - Parameter weights: `nil` where the layer's type is not known.
  /// - Throws: `ModelError` when the file ends before they do.
  mutating func read(_ layer: NCNNDescription.Layer, _ weights: NCNNWeights?) throws {
    guard let weights else {
      unknownTypes.append(layer.type)
      return
    }
    var places: [Place] = []
    for part in weights.parts {
      places.append(try locatingErrors(tensor: Self.name(layer, part)) { try place(part) })
    }
    let scale = places.first { $0.part.isScale }
    for place in places where !place.part.isScale {
      let name = Self.name(layer, place.part)
      guard tensors[name] == nil else {
        throw ModelError.malformed("two tensors have this name", tensor: name)
      }
      if place.storage == .int8, let scale {
        tensors[name] = try Self.codes(place, scale, in: file, name)
        codeCount += 1
      } else {
        tensors[name] = try Self.tensor(place, in: file, name)
      }
    }
  }

  private static func name(
    _ layer: NCNNDescription.Layer, _ part: NCNNWeights.Part
  ) -> String { "\(layer.name).\(part.suffix)" }

  private mutating func place(_ part: NCNNWeights.Part) throws -> Place {
    guard let shape = Shape(part.shape) else {
      throw ModelError.malformed("the shape \(part.shape) has too many elements", offset: offset)
    }
    var storage = NCNNStorage.float32
    if part.isTagged {
      let bytes = try file.bytes(at: offset, count: 4, purpose: "the kind of a weight")
      storage = NCNNStorage(
        tag: bytes.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self)) })
      offset += 4
    }
    guard let count = storage.byteCount(shape.elementCount), count <= file.byteCount - offset
    else {
      throw ModelError(
        .truncated(
          expectedBytes: storage.byteCount(shape.elementCount) ?? .max,
          foundBytes: file.byteCount - offset, purpose: "\(storage.elementType) \(shape)"),
        offset: offset)
    }
    let start = offset
    // Whole words, of which the last may be cut off where nothing follows.
    offset = min(offset + count.roundedUp(toMultipleOf: 4), file.byteCount)
    return Place(part: part, shape: shape, storage: storage, bytes: start..<start + count)
  }

  /// Checks that no weights are left.
  ///
  /// - Throws: `ModelError` when the description is that of other weights, or a layer of an unknown type
  ///   may have had some.
  func finish() throws {
    guard offset < file.byteCount else { return }
    if let type = unknownTypes.first {
      throw ModelError.unsupported(
        "the weights of layers of the type '\(type)' are not known, so those after them cannot be "
          + "found")
    }
    throw ModelError.mismatch(
      expected: "weights that end at byte \(offset), by the description",
      found: counted(file.byteCount, "byte"))
  }

  var notes: [String] {
    var notes: [String] = []
    if codeCount > 0 {
      notes.append(
        "\(counted(codeCount, "weight")) in int8, read as the values that the codes stand for")
    }
    if !unknownTypes.isEmpty {
      notes.append("layers of unknown types, without weights: \(unknownTypes.quotedList())")
    }
    return notes
  }

  // MARK: Elements

  private static func stored(_ place: Place, in file: InputFile, _ name: String) throws
    -> SharedBytes
  {
    try locatingErrors(tensor: name) {
      try file.bytes(
        at: place.bytes.lowerBound, count: place.bytes.count,
        purpose: "\(place.storage.elementType) \(place.shape)")
    }
  }

  private static func tensor(_ place: Place, in file: InputFile, _ name: String) throws -> Tensor {
    try Tensor(elementType: place.storage.elementType, shape: place.shape) {
      let bytes = try stored(place, in: file, name)
      guard place.storage == .table else { return bytes }
      return bytes.withUnsafeBytes { bytes in
        SharedBytes(
          elementsOf: bytes[1024...].map { code in
            bytes.loadUnaligned(fromByteOffset: 4 * Int(code), as: Float.self)
          })
      }
    }
  }

  /// Returns the values `code / scale`, with a scale for each output or one for each group of them.
  private static func codes(
    _ place: Place, _ scale: Place, in file: InputFile, _ name: String
  ) throws -> Tensor {
    try Tensor(elementType: .float32, shape: place.shape) {
      let codes = try stored(place, in: file, name)
      let scales = try stored(scale, in: file, name)
      return try codes.withUnsafeBytes { codes in
        try scales.withUnsafeBytes { scales in
          let count = scales.count / 4
          let length = count > 0 ? codes.count / count : 0
          guard length * count == codes.count else {
            throw ModelError.malformed(
              "\(counted(count, "scale")) do not divide \(counted(codes.count, "code"))",
              tensor: name)
          }
          return SharedBytes(
            elementsOf: codes.enumerated().map { index, code in
              let scale = scales.loadUnaligned(fromByteOffset: index / length * 4, as: Float.self)
              // ncnn writes 0 for outputs whose weights are all 0.
              return scale == 0 ? 0 : Float(Int8(bitPattern: code)) / scale
            })
        }
      }
    }
  }
}
