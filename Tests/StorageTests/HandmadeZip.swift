import Foundation
import TestSupport

@testable import Storage

/// A zip file laid out field by field.
struct HandmadeZip {
  private var local: [UInt8] = []
  private var central: [UInt8] = []
  private var entryCount = 0
  var declaredEntryCount: Int?
  var writesZip64End = false
  var comment: [UInt8] = []

  mutating func add(
    _ name: String, _ content: [UInt8], method: UInt16 = 0, flags: UInt16 = 0,
    localFlags: UInt16 = 0, localCRC32: UInt32? = nil, localByteCount: UInt32? = nil,
    byteCount: UInt32? = nil, compressedByteCount: UInt32? = nil, centralName: String? = nil,
    localName: String? = nil, centralOffset: Int? = nil, usesZip64: Bool = false
  ) {
    let crc = CRC32.checksum(SharedBytes(content))
    let length = byteCount ?? UInt32(content.count)
    let compressed = compressedByteCount ?? UInt32(content.count)
    let offset = centralOffset ?? local.count
    let inLocal = Array((localName ?? name).utf8)
    let inCentral = Array((centralName ?? name).utf8)
    local += bytes(0x0403_4B50 as UInt32) + bytes(20 as UInt16) + bytes(localFlags) + bytes(method)
    local += bytes(0x0021_0000 as UInt32) + bytes(localCRC32 ?? crc)
    local += bytes(localByteCount ?? compressed) + bytes(localByteCount ?? length)
    local += bytes(UInt16(inLocal.count)) + bytes(0 as UInt16) + inLocal + content
    if localFlags & 8 != 0 {
      local += bytes(0x0807_4B50 as UInt32) + bytes(crc) + bytes(compressed) + bytes(length)
    }
    let extra =
      usesZip64
      ? bytes(1 as UInt16) + bytes(24 as UInt16) + bytes(UInt64(length))
        + bytes(UInt64(compressed)) + bytes(UInt64(offset)) : []
    central += bytes(0x0201_4B50 as UInt32) + bytes(20 as UInt16) + bytes(20 as UInt16)
    central += bytes(localFlags | flags) + bytes(method) + bytes(0x0021_0000 as UInt32) + bytes(crc)
    central += bytes(usesZip64 ? .max : compressed) + bytes(usesZip64 ? .max : length)
    central += bytes(UInt16(inCentral.count)) + bytes(UInt16(extra.count)) + bytes(0 as UInt16)
    central += bytes(0 as UInt16) + bytes(0 as UInt16) + bytes(0 as UInt32)
    central += bytes(usesZip64 ? .max : UInt32(offset)) + inCentral + extra
    entryCount += 1
  }

  var fileBytes: [UInt8] {
    let count = declaredEntryCount ?? entryCount
    var file = local + central
    if writesZip64End {
      file += bytes(0x0606_4B50 as UInt32) + bytes(44 as UInt64) + bytes(45 as UInt16)
      file += bytes(45 as UInt16) + bytes(0 as UInt32) + bytes(0 as UInt32)
      file += bytes(UInt64(count)) + bytes(UInt64(count)) + bytes(UInt64(central.count))
      file += bytes(UInt64(local.count))
      file += bytes(0x0706_4B50 as UInt32) + bytes(0 as UInt32)
      file += bytes(UInt64(local.count + central.count)) + bytes(1 as UInt32)
    }
    file += bytes(0x0605_4B50 as UInt32) + bytes(0 as UInt32)
    file += bytes(UInt16(count)) + bytes(UInt16(count))
    file += bytes(writesZip64End ? .max : UInt32(central.count))
    file += bytes(writesZip64End ? .max : UInt32(local.count))
    return file + bytes(UInt16(comment.count)) + comment
  }

  func file() throws -> InputFile { try ZipFiles.make(fileBytes) }

  private func bytes<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }
}
