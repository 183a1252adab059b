import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// Headers that contradict themselves, in files whose checksums are correct.
@Suite struct PackedHeaderTests {
  /// Returns the faults of a file of one two-element tensor whose header text `change` has edited.
  private func faults(_ change: (String) -> String) throws -> [String] {
    let tensor = try Tensor(
      elementType: .float32, shape: [2], bytes: SharedBytes(elementsOf: [1, 2] as [Float]))
    let bytes = try PackedSamples.file(
      PackedPlan(losslessly: TensorArchive(tensors: ["a": tensor])))
    let text = try PackedSamples.open(bytes) { $0.headerText }
    let changed = change(text)
    #expect(changed != text, "the test must change something")
    let header = SharedBytes(changed.utf8)
    let stored = Zlib.compress(header)
    let prologue = PackedPrologue(
      headerOffset: 72, headerByteCount: stored.count, inflatedHeaderByteCount: header.count,
      headerChecksum: CRC32.checksum(SharedBytes(stored)))
    return try PackedSamples.faults(prologue.bytes + bytes[64..<72] + stored)
  }

  @Test(arguments: [
    (#""format":"condi""#, #""format":"other""#, "the header's 'format' is not 'condi'"),
    (#""type":"float32""#, #""type":"float33""#, "element type 'float33' is not known"),
    (#""shape":[2]"#, #""shape":[-2]"#, "the shape [-2] of float32 is not possible"),
    (#""shape":[2]"#, #""shape":[3]"#, "expected 12 bytes for float32 [3], found 8"),
    (#""role":"parameter""#, #""role":"guest""#, "role 'guest' is not known"),
    (#""encoding":"raw""#, #""encoding":"magic""#, "encoding 'magic' is not known"),
    (#""offset":64"#, #""offset":68"#, "expected its record at byte 64, found 68"),
    (
      #""offset":64"#, #""offset":"64""#,
      ##"header.tensors[0].offset: expected an integer of at least 0, found "64""##
    ),
    (#""bytes":8"#, #""bytes":4"#, "expected 8 bytes for float32 [2], found 4"),
    (#""crc32":""#, #""crc32":"0"#, "is not 8 hexadecimal digits"),
    (#""encoding":"raw""#, #""encoding":"raw","compression":"zlib""#, "do not occur together"),
    (
      #""encoding":"raw""#, #""encoding":"raw","compression":"lz""#, "compression 'lz' is not known"
    ),
    (
      #""encoding":"raw""#, #""encoding":"affine","bits":9,"granularity":"tensor""#,
      "9-bit codes of float32 are not possible"
    ),
    (
      #""encoding":"raw""#, #""encoding":"affine","bits":2,"granularity":"group:0""#,
      "granularity 'group:0' is not known"
    ),
    (
      #""encoding":"raw""#, #""encoding":"palette","bits":1,"distinct":3"#,
      "a palette of 3 float32 values and 1 bits is not possible"
    ),
    (
      #""encoding":"raw""#, #""encoding":"integer","bits":3,"base":0"#,
      "3-bit differences of float32 are not possible"
    ),
    (#""encoding":"raw""#, #""encoding":"raw","bits":3"#, "'bits' does not belong in this entry"),
    (#""encoding":"raw""#, #""encoding":"raw","parts":1"#, "'parts' does not belong in this entry"),
    (
      #"}]}"#, #"},{"name":"b","sharesWith":"a","role":"weight"}]}"#,
      "'role' does not belong in this entry"
    ),
    (#""producer":"condi-convert 0.1.0""#, ##""producer":"""##, "the header's 'producer' is empty"),
    (#"}]}"#, #"},{"name":"a","sharesWith":"a"}]}"#, "the name occurs twice in the header"),
    (#"}]}"#, #"},{"name":"b","sharesWith":"c"}]}"#, "which is not a tensor before it"),
    (#""producer""#, #""maker""#, "header.producer: expected a string, found none"),
  ])
  func contradictionsAreRefused(_ found: String, _ replacement: String, _ message: String) throws {
    let faults = try faults { $0.replacingOccurrences(of: found, with: replacement) }
    #expect(faults.count == 1 && faults[0].contains(message), "\(faults)")
  }

  /// Any member that may change the meaning of an activation's bounds is refused if unknown.
  @Test(arguments: [
    (#""bits":2,"lower":-0.5,"upper":1"#, nil),
    (#""bits":2,"lower":-0.5,"upper":1,"scaling":"row""#, nil),
    (#""bits":2,"lower":-0.5,"upper":1,"scaling":"group:2""#, nil),
    (#""bits":2,"lower":-0.5,"upper":1,"scaling":"group:65536""#, nil),
    (#""bits":2,"lower":-0.5,"upper":1,"scaling":"column""#, "scaling 'column' of the activation"),
    (#""bits":2,"lower":-0.5,"upper":1,"scaling":"group:1""#, "scaling 'group:1' of the"),
    (#""bits":2,"lower":-0.5,"upper":1,"scaling":"group:65537""#, "scaling 'group:65537' of"),
    (#""bits":2,"lower":-0.5,"upper":1,"scaling":"group:016""#, "scaling 'group:016' of the"),
    (#""bits":2,"lower":-0.5,"upper":1,"scaling":"group:+16""#, "scaling 'group:+16' of the"),
    (#""bits":2,"lower":-0.5,"upper":1,"scaling":"group:""#, "scaling 'group:' of the"),
    (
      #""bits":2,"lower":-0.5,"upper":1,"scaling":1"#,
      "header.activations[0].scaling: expected a string, found 1"
    ),
    (#""bits":2,"lower":-0.5,"upper":1,"sclaing":"row""#, "'sclaing' of the activation 'a.input'"),
    (#""bits":2,"lower":0,"upper":1,"normalized":true"#, nil),
    (#""bits":2,"lower":0,"upper":1,"scaling":"row","normalized":true"#, nil),
    (
      #""bits":2,"lower":0,"upper":1,"scaling":"group:2","normalized":true"#,
      "groups of the activation 'a.input' cannot be normalized"
    ),
    (
      #""bits":2,"lower":0,"upper":1,"normalized":1"#,
      "header.activations[0].normalized: expected"
    ),
    (#""bits":2,"lower":1,"upper":-0.5"#, "finite bounds in order"),
    (#""bits":2,"lower":0.1,"upper":1"#, "exact in Float32"),
    (#""bits":9,"lower":0,"upper":1"#, "1 to 8 bits"),
  ])
  func activationMembersAreChecked(_ members: String, _ message: String?) throws {
    let faults = try faults {
      $0.replacingOccurrences(
        of: #""format":"#,
        with: #""activations":[{"name":"a.input",\#(members)}],"format":"#)
    }
    #expect(faults.count == (message == nil ? 0 : 1))
    if let message { #expect(faults.first?.contains(message) == true, "\(faults)") }
  }

  @Test func unknownMembersAreIgnored() throws {
    #expect(
      try faults { $0.replacingOccurrences(of: #""format""#, with: #""x":{},"format""#) }.isEmpty)
  }

  @Test func constantTensorCannotRequestAllMemory() throws {
    let faults = try faults {
      $0.replacingOccurrences(of: #""shape":[2]"#, with: #""shape":[1099511627776]"#)
        .replacingOccurrences(
          of: #""encoding":"raw""#, with: #""encoding":"palette","bits":0,"distinct":1"#
        )
        .replacingOccurrences(of: #""bytes":8"#, with: #""bytes":4"#)
    }
    #expect(faults.count == 1)
  }
}
