"""The resources a person writes and the contracts that operator and gateway share.

Nothing here opens a socket, a file or a clock. Depends on pydantic only, so that every other
package may depend on it.
"""
