"""A FastAPI application whose events are rows in the same transactions as its data.

    whisperr dev                                    # in one terminal
    export WHISPERR_API_KEY=wrk_test WHISPERR_BASE_URL=http://127.0.0.1:8722
    uvicorn --app-dir examples sqlalchemy_app:app   # in another one
    whisperr relay --database sqlite:///shop.db     # in a third one, with the same variables
    curl -X POST 'http://127.0.0.1:8000/users/ada/plan?name=pro'
    curl -X POST 'http://127.0.0.1:8000/users/ada/plan?name=gold'

The first request commits, and its event arrives. The second one fails after it has tracked, so
neither the change nor the event remains. DATABASE_URL names another database.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from whisperr import Whisperr
from whisperr.sqlalchemy import Outbox, whisperr_table

PLANS = {"free", "pro"}


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "account"
    id: Mapped[str] = mapped_column(primary_key=True)
    plan: Mapped[str]


events = whisperr_table(Base.metadata)
outbox = Outbox(Whisperr(), events)
engine = create_async_engine(os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///shop.db"))
sessions = async_sessionmaker(engine)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Create the tables, which a real application does in a migration."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()
    await outbox.client.ashutdown()


async def get_session() -> AsyncIterator[AsyncSession]:
    """Commit the work of a request, or roll it back if the request fails."""
    async with sessions.begin() as session:
        yield session


app = FastAPI(lifespan=lifespan)


@app.post("/users/{user_id}/plan")
async def change_plan(
    user_id: str, name: str, session: Annotated[AsyncSession, Depends(get_session)]
) -> dict[str, Any]:
    """Change the plan of a user."""
    user = await session.merge(User(id=user_id, plan=name))
    message_id = await outbox.atrack(session, user.id, "plan_upgraded", {"plan": name})
    if name not in PLANS:
        raise HTTPException(400, f"there is no plan {name!r}")
    return {"message_id": message_id}
