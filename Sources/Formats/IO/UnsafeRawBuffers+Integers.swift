extension UnsafeRawBufferPointer {
  /// The little-endian unsigned integer of 1, 2, 4 or 8 bytes at `offset`.
  func loadUnsigned(at offset: Int, byteWidth: Int) -> UInt64 {
    switch byteWidth {
    case 1: UInt64(self[offset])
    case 2: UInt64(UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
    case 4: UInt64(UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
    case 8: UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    default: preconditionFailure("an integer has 1, 2, 4 or 8 bytes")
    }
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Stores the low `byteWidth` (1, 2, 4 or 8) bytes of `value` at `offset`, little-endian.
  func storeUnsigned(_ value: UInt64, at offset: Int, byteWidth: Int) {
    switch byteWidth {
    case 1: self[offset] = UInt8(truncatingIfNeeded: value)
    case 2:
      storeBytes(
        of: UInt16(truncatingIfNeeded: value).littleEndian, toByteOffset: offset, as: UInt16.self)
    case 4:
      storeBytes(
        of: UInt32(truncatingIfNeeded: value).littleEndian, toByteOffset: offset, as: UInt32.self)
    case 8: storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
    default: preconditionFailure("an integer has 1, 2, 4 or 8 bytes")
    }
  }
}
