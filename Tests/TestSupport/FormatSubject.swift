import Formats
import Testing

/// A format under the conformance kit, and what it is documented to keep.
public struct FormatSubject: Sendable, CustomTestStringConvertible {
  /// The changes to a file's bytes that a reader can detect.
  public enum Detection: Sendable {
    /// Any changed byte is an error, or changes nothing that is read.
    case everyByte
    /// Only violations of the format's rules are found: there are no checksums.
    case rulesOnly
  }

  public var format: any ModelFormat
  /// The label in tests' names, as formats may be tested with several settings.
  public var label: String
  public var elementTypes: [ElementType] = ElementType.allCases
  /// Whether tensors come back in the order given; otherwise they have the format's own order.
  public var keepsOrder = true
  public var keepsValues = true
  public var keepsMetadata = true
  /// Whether the format holds exactly one tensor, without a name.
  public var isSingleTensor = false
  public var detection: Detection

  public init(_ format: any ModelFormat, label: String? = nil, detection: Detection) {
    self.format = format
    self.label = label ?? format.identifier.name
    self.detection = detection
  }

  /// An element type of whole bytes that the format has: bytes, or else float32.
  public var commonElementType: ElementType { elementTypes.contains(.uint8) ? .uint8 : .float32 }

  public var testDescription: String { label }
}

extension FormatSubject {
  /// Every writable format of the library, in the order of `FormatRegistry.standard`. A test checks
  /// that none is missing.
  public static let all: [FormatSubject] = [
    packed, safetensors, pytorch, npz, compressedNPZ, npy,
  ]

  static var packed: FormatSubject { FormatSubject(PackedFormat(), detection: .everyByte) }

  static var safetensors: FormatSubject {
    var subject = FormatSubject(SafetensorsFormat(), detection: .rulesOnly)
    subject.elementTypes = ElementType.allCases.filter {
      ![.complex32, .complex128, .bits8, .bits16, .bits1x8, .bits2x4, .bits4x2].contains($0)
    }
    subject.keepsOrder = false
    return subject
  }

  static var pytorch: FormatSubject {
    var subject = FormatSubject(PyTorchFormat(), detection: .everyByte)
    subject.elementTypes = ElementType.allCases.filter {
      ![.float6E2M3, .float6E3M2].contains($0)
    }
    return subject
  }

  static var npz: FormatSubject { FormatSubject(NPZFormat(), detection: .everyByte) }

  static var compressedNPZ: FormatSubject {
    FormatSubject(NPZFormat(isCompressed: true), label: "npz, deflated", detection: .everyByte)
  }

  static var npy: FormatSubject {
    var subject = FormatSubject(NPYFormat(), detection: .rulesOnly)
    subject.elementTypes = [
      .bool, .uint8, .uint16, .uint32, .uint64, .int8, .int16, .int32, .int64, .float16, .float32,
      .float64, .complex64, .complex128,
    ]
    subject.keepsValues = false
    subject.keepsMetadata = false
    subject.isSingleTensor = true
    return subject
  }
}
